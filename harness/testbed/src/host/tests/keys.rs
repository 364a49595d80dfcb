//! Keys are read when they are needed.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rstest::rstest;

use super::{COMPLETE, Directory};
use crate::host::{Credentials, KeyError, KeySource};

fn command(script: &str) -> KeySource {
    KeySource::Command(["sh", "-c", script].map(String::from).to_vec())
}

#[test]
fn a_file_is_read_whole() {
    let directory = Directory::new();
    directory.write("key", "# created\nsecret\n");

    assert_eq!(*KeySource::File(directory.path("key")).read().unwrap(), "# created\nsecret\n");
}

#[test]
fn the_held_keys_are_those_that_have_a_place() {
    let directory = Directory::new();
    let definition = directory.load(COMPLETE).unwrap();
    directory.write("keys/recovery.txt", "read when it is needed");

    let held = definition.held_keys().unwrap();

    let held: Vec<_> = held.iter().map(|(name, key)| (name.as_str(), key.as_str())).collect();
    assert_eq!(held, [("recovery", "read when it is needed")]);
}

#[test]
fn a_file_that_was_opened_to_others_since_is_refused() {
    let directory = Directory::new();
    directory.write("key", "secret");
    fs::set_permissions(directory.path("key"), fs::Permissions::from_mode(0o640)).unwrap();

    let error = KeySource::File(directory.path("key")).read().unwrap_err();

    assert!(matches!(error, KeyError::TooOpen { mode: 0o640, .. }));
    assert!(error.to_string().contains(&format!("chmod 600 {}", directory.path("key").display())));
}

#[test]
fn what_a_command_prints_is_the_key() {
    assert_eq!(*command("echo secret").read().unwrap(), "secret\n");
}

#[test]
fn a_failing_command_is_named_without_its_output() {
    let error = command("echo secret; exit 3").read().unwrap_err().to_string();

    assert!(error.contains("`sh` failed with exit status: 3"), "{error}");
    assert!(!error.contains("secret"));
}

#[rstest]
#[case::command(command("true"))]
#[case::directory(KeySource::File("/".into()))]
#[case::unset_variable(KeySource::Env("COLDPROOF_TEST_UNSET".to_owned()))]
#[case::no_such_program(KeySource::Command(vec!["/nonexistent".to_owned()]))]
fn nothing_is_no_key(#[case] source: KeySource) {
    assert!(source.read().is_err());
}

#[rstest]
#[case::header("Authorization: Basic b3BlcmF0b3I=\n", true)]
#[case::two_lines("Authorization: Basic b3Bl\nX-Other: 1\n", false)]
#[case::bare_token("b3BlcmF0b3I=", false)]
#[case::no_value("Authorization:", false)]
fn credentials_are_one_header(#[case] text: &str, #[case] good: bool) {
    let directory = Directory::new();
    directory.write("header", text);

    let header = Credentials(KeySource::File(directory.path("header"))).read();

    assert_eq!(header.is_ok(), good);
    if let Ok(header) = header {
        assert_eq!(*header, text.trim());
    }
}
