//! Canaries: every form of a secret, planted in every kind of place that can be made here, is found there.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use coldproof_leaks::forms;
use flate2::{Compression, write::GzEncoder};
use rstest::rstest;

use super::*;

/// As awkward as a person's may be.
const CANARY: &str = "canary-7 \"quoted\", C:\\new, 100 %s <é> it's $5/8?";

/// Plants `form` below `dir`; what it returns is kept until the search has ended.
type Plant = fn(dir: &Path, form: &str) -> Option<Process>;

/// A process that ends with the test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        assert!(ended.is_ok(), "the planted process cannot be ended");
    }
}

fn in_text(dir: &Path, form: &str) -> Option<Process> {
    fs::write(dir.join("settings"), format!("TOKEN={form}\n")).unwrap();
    None
}

fn in_archive(dir: &Path, form: &str) -> Option<Process> {
    let mut encoder = GzEncoder::new(File::create(dir.join("old.gz")).unwrap(), Compression::best());
    write!(encoder, "{{\"token\": \"{form}\"}}").unwrap();
    encoder.finish().unwrap();
    None
}

fn in_core_dump(dir: &Path, form: &str) -> Option<Process> {
    let header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0";
    fs::write(dir.join("dump"), [&header[..], &[0; 5000], form.as_bytes(), &[0; 50]].concat()).unwrap();
    None
}

fn git(dir: &Path, arguments: &[&str]) {
    let command = |command: &mut Command| {
        command.arg("-C").arg(dir).args(["-c", "user.name=a", "-c", "user.email=a@example.test"]).args(arguments);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").status()
    };
    assert!(command(&mut Command::new("git")).unwrap().success());
}

fn in_history(dir: &Path, form: &str) -> Option<Process> {
    git(dir, &["init", "--quiet"]);
    fs::write(dir.join("notes"), form).unwrap();
    git(dir, &["add", "notes"]);
    fs::remove_file(dir.join("notes")).unwrap();
    None
}

/// Of two objects one becomes a difference to the other.
fn in_packed_history(dir: &Path, form: &str) -> Option<Process> {
    let long: String = (0..400).map(|n| format!("line {n}\n")).collect();
    git(dir, &["init", "--quiet"]);
    for text in [long.clone(), format!("{long}{form}\n{long}")] {
        fs::write(dir.join("notes"), text).unwrap();
        git(dir, &["add", "notes"]);
        git(dir, &["commit", "--quiet", "-m", "change"]);
    }
    git(dir, &["repack", "--quiet", "-a", "-d"]);
    fs::remove_file(dir.join("notes")).unwrap();
    None
}

fn wait_for_start(mut command: Command) -> Option<Process> {
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
    // Until it has answered it may still be the program that starts it.
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    Some(Process(child))
}

fn in_arguments(_: &Path, form: &str) -> Option<Process> {
    // A file that would be read only once the input has ended.
    let mut command = Command::new("cat");
    command.args(["--", "-", &format!("token={form}")]);
    wait_for_start(command)
}

fn in_environment(_: &Path, form: &str) -> Option<Process> {
    let mut command = Command::new("cat");
    command.env("TOKEN", form);
    wait_for_start(command)
}

fn search(dir: &Path) -> LeaksObservation {
    let secret = Secret { name: "token".to_owned(), value: CANARY.to_owned().into(), ..Secret::default() };
    let report = Report::new(names(std::slice::from_ref(&secret)), BTreeMap::new());
    let search = Search { matcher: Matcher::new(&[secret]).unwrap(), report: &report, root: Path::new("/") };
    processes::look_through(&search);
    let packs = files::scan_below(&search, &[dir]);
    packs.iter().for_each(|repository| programs::git_objects(&search, repository));
    report.into_observation()
}

#[rstest]
#[case::file(in_text, "/tmp", "settings", "")]
#[case::gzip(in_archive, "/tmp", "old.gz", " in gzip")]
#[case::core_dump(in_core_dump, "core dumps", "dump", "")]
#[case::loose_object(in_history, "git", ".git/objects/", " in zlib")]
#[case::packed_object(in_packed_history, "git", "object ", "")]
#[case::arguments(in_arguments, "process arguments", "(cat)", "")]
#[case::environment(in_environment, "process environments", "(cat)", "")]
fn every_form_is_found(#[case] plant: Plant, #[case] surface: &str, #[case] place: &str, #[case] through: &str) {
    for (encoding, form) in forms(CANARY) {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let _process = plant(dir.path(), &form);
        let found = search(dir.path());
        assert_eq!(found.gaps, [""; 0]);
        let expected = |s: &&coldproof_evidence::leaks::LeakSighting| {
            s.surface == surface && s.place.contains(place) && s.secret == "token" && s.form.ends_with(through)
        };
        assert!(found.sightings.iter().any(|s| expected(&s)), "{encoding} in {surface}: {:?}", found.sightings);
    }
}

#[test]
fn a_secret_s_own_file_is_no_leak_under_any_name_and_a_copy_is() {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("own"), CANARY).unwrap();
    fs::hard_link(at("own"), at("other-name")).unwrap();
    std::os::unix::fs::symlink(at("own"), at("declared")).unwrap();
    let secret = Secret {
        name: "token".to_owned(),
        value: CANARY.to_owned().into(),
        files: vec![at("declared").to_string_lossy().into_owned()],
        public: false,
    };
    let look = || {
        let secrets = std::slice::from_ref(&secret);
        let report = Report::new(names(secrets), own_files(secrets));
        let search = Search { matcher: Matcher::new(secrets).unwrap(), report: &report, root: Path::new("/") };
        files::scan_below(&search, &[dir.path()]);
        report.into_observation()
    };
    let own = look();
    assert!(own.sightings.is_empty() && own.surfaces["/tmp"].items == 1, "{own:?}");
    fs::copy(at("own"), at("copy")).unwrap();
    assert_eq!(look().sightings[0].place, at("copy").to_string_lossy());
}
