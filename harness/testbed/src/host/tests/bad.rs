//! What a bad definition is told.

use proptest::prelude::*;
use rstest::{Context, rstest};

use super::{COMPLETE, Directory};

/// The error that results from writing `new` instead of `old` in a good definition.
fn error(old: &str, new: &str) -> String {
    assert!(COMPLETE.contains(old), "{old} is not in the good definition");
    Directory::new().error(&COMPLETE.replacen(old, new, 1))
}

#[rstest]
#[case::unknown_key("memory = \"3GiB\"", "memmory = \"3GiB\"")]
#[case::unknown_key_far_off("memory = \"3GiB\"", "colour = \"red\"")]
#[case::unknown_table("[machine]", "[machines]")]
#[case::missing_mode("mode = \"0440\"\n", "")]
#[case::mode_without_quotes("mode = \"0440\"", "mode = 440")]
#[case::mode_not_octal("mode = \"0440\"", "mode = \"0890\"")]
#[case::duration("deadline = \"15m\"", "deadline = \"soon\"")]
#[case::size_without_unit("memory = \"3GiB\"", "memory = \"3\"")]
#[case::size("disk = \"12GiB\"", "disk = \"big\"")]
#[case::no_cpu("cpus = 4", "cpus = 0")]
#[case::unknown_provider("provider = \"qemu\"", "provider = \"virtualbox\"")]
#[case::empty_revision("revision = \"main\"", "revision = \"\"")]
#[case::range_for_revision("revision = \"main\"", "revision = \"main..next\"")]
#[case::abbreviated_pin("0123456789abcdef0123456789abcdef01234567", "0123456")]
#[case::missing_repository("url = \"base.git\"", "url = \"bsae.git\"")]
#[case::no_repository("url = \"base.git\"", "url = \"keys\"")]
#[case::ssh_repository("url = \"base.git\"", "url = \"ssh://git@git.example.test/base.git\"")]
#[case::short_ssh_repository("url = \"base.git\"", "url = \"git@git.example.test:ci/base.git\"")]
#[case::missing_tree("tree = \"operator\"", "tree = \"nobody\"")]
#[case::missing_key_file("key = { file = \"keys/recovery.txt\" }", "key = { file = \"keys/none.txt\" }")]
#[case::open_key_file("key = { file = \"keys/recovery.txt\" }", "key = { file = \"keys/open.txt\" }")]
#[case::unknown_key_source("key = { file = \"keys/recovery.txt\" }", "key = { url = \"https://keys.example.test\" }")]
#[case::credentials_for_a_local_repository("private = true", "credentials = { header-env = \"GIT_HEADER\" }")]
#[case::ssh_recipient_of_another_type("ssh-ed25519 AAAAC3", "ssh-rsa AAAAC3")]
#[case::recipient_twice_declared("[recipients.recovery]\n", "[recipients.recovery]\nssh = \"ssh-ed25519 AAAA\"\n")]
#[case::destination("git.example.test:443", "git.example.test")]
#[case::relative_secret_path("path = \"/run/secrets/drone/rpc\"", "path = \"run/secrets/drone/rpc\"")]
#[case::duplicate_secret_path("path = \"/run/secrets/drone/rpc\"", "path = \"/run/secrets/wildcard_cert\"")]
#[case::unknown_sops_file("file = \"secrets/secrets.yaml\"", "file = \"secrets/other.yaml\"")]
#[case::waiver("unit:debug-*.service", "debug.service")]
#[case::waiver_without_reason("started by hand", "")]
#[case::tls_name_is_an_address("\"drone.ci.example.test\"", "\"192.0.2.7\"")]
#[case::tls_name_is_a_wildcard("\"drone.ci.example.test\"", "\"*.ci.example.test\"")]
#[case::duplicate_tls_name("\"drone.ci.example.test\"", "\"ci.example.test\"")]
#[case::no_tls_name("names = [\"ci.example.test\", \"drone.ci.example.test\"]", "names = []")]
#[case::missing_roots("ca/root.pem", "ca/roots.pem")]
#[case::roots_are_no_certificate("ca/root.pem", "ca/not-a-certificate.pem")]
#[case::destination_is_an_option("host = \"root@cc-ci.example.test\"", "host = \"-oProxyCommand=reboot\"")]
#[case::missing_ssh_configuration("config = \"ssh_config\"", "config = \"sshconfig\"")]
#[case::built_on_what_is_only_read("witness = \"docker\"", "witness = \"ssh\"")]
#[case::image_with_a_backing_file("file = \"cc-ci.qcow2\"", "file = \"overlay.qcow2\"")]
#[case::image_that_is_no_qcow2("file = \"cc-ci.qcow2\"", "file = \"fault.sh\"")]
#[case::image_larger_than_the_disk("disk = \"12GiB\"", "disk = \"9GiB\"")]
#[case::image_for_another_provider("provider = \"qemu\"", "provider = \"docker\"")]
#[case::image_with_an_unknown_key("bus = \"scsi\"", "buss = \"scsi\"")]
#[case::image_on_an_unknown_bus("bus = \"scsi\"", "bus = \"nvme\"")]
#[case::image_with_a_bad_serial("root-0", "the disk of the root file system")]
#[case::ssh_without_a_key("ssh-key = \"keys/recovery.txt\"\n", "")]
#[case::key_without_ssh("control = \"ssh\"", "control = \"guest-agent\"")]
#[case::incus_unknown_key("budget = \"16GiB\"", "bugdet = \"16GiB\"")]
#[case::incus_url("https://incus.example.test:8443", "http://incus.example.test:8443")]
#[case::incus_proxy("socks5h://127.0.0.1:1080", "socks5h://me:hunter2@127.0.0.1:1080")]
#[case::incus_fingerprint("fingerprint = \"0123456789abcdef", "fingerprint = \"abcdef")]
#[case::incus_without_trust("fingerprint = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n", "")]
#[case::incus_trusted_twice("pool = \"fast\"", "authority = \"ca/root.pem\"")]
#[case::incus_missing_certificate("certificate = \"ca/root.pem\"", "certificate = \"ca/none.pem\"")]
#[case::incus_open_key("key = \"keys/recovery.txt\"\nfingerprint", "key = \"keys/open.txt\"\nfingerprint")]
#[case::incus_secret_user_data("\"user-data.yaml\"", "\"secret-data.yaml\"")]
#[case::incus_machines_without_an_image("image = \"cc-ci\"\n", "")]
#[case::service_with_nothing("unit = \"nginx.service\"", "")]
#[case::service_with_both("unit = \"nginx.service\"", "unit = \"nginx.service\"\nurl = \"https://ci.example.test/\"")]
#[case::state_of_a_url("status = 302", "state = \"active\"")]
#[case::status_of_a_unit("unit = \"nginx.service\"", "unit = \"nginx.service\"\nstatus = 200")]
#[case::replicas_of_a_unit("unit = \"nginx.service\"", "unit = \"nginx.service\"\nreplicas = 2")]
#[case::replicas_of_a_url("status = 302", "replicas = 2")]
#[case::stack_and_unit("stack = \"ci\"", "stack = \"ci\"\nunit = \"docker.service\"")]
#[case::stack_without_replicas("replicas = 3\n", "")]
#[case::stack_of_nothing("replicas = 3", "replicas = 0")]
#[case::stack_with_a_status("replicas = 3", "replicas = 3\nstatus = 200")]
#[case::stack_with_a_state("replicas = 3", "replicas = 3\nstate = \"active\"")]
#[case::stack_with_a_bad_name("stack = \"ci\"", "stack = \"ci/web\"")]
#[case::packages_for_an_own_image("cpus = 4", "cpus = 4\npackages = [\"docker.io\"]")]
#[case::package_with_a_version("cpus = 4", "cpus = 4\npackages = [\"docker.io=26\"]")]
#[case::package_to_be_removed("cpus = 4", "cpus = 4\npackages = [\"docker.io-\"]")]
#[case::unit_without_a_kind("unit = \"nginx.service\"", "unit = \"nginx\"")]
#[case::impossible_status("status = 302", "status = 20")]
#[case::criterion_glob("convergence.*", "convergence.{a")]
#[case::unknown_fault_stage("stage = \"switched\"", "stage = \"later\"")]
#[case::missing_fault_script("fault.sh", "no-fault.sh")]
#[case::key_given_twice("revision = \"main\"", "revision = \"main\"\nrevision = \"next\"")]
#[case::no_quotes("revision = \"main\"", "revision = main")]
fn a_bad_definition_is_refused(#[context] context: Context, #[case] old: &str, #[case] new: &str) {
    insta::assert_snapshot!(context.description.unwrap(), error(old, new));
}

/// Whatever else is wrong, a secret that was written into the definition is not shown.
#[rstest]
#[case::key("key = { file = \"keys/recovery.txt\" }", "key = \"AGE-SECRET-KEY-1SWORDFISH\"")]
#[case::key_file("key = { file = \"keys/recovery.txt\" }", "key = { file = \"AGE-SECRET-KEY-1SWORDFISH\" }")]
#[case::key_variable("key = { file = \"keys/recovery.txt\" }", "key = { env = \"AGE-SECRET-KEY-1SWORDFISH\" }")]
#[case::recipient("recipient = \"age1", "recipient = \"AGE-SECRET-KEY-1SWORDFISH")]
#[case::url("url = \"base.git\"", "url = \"https://operator:swordfish@git.example.test/base.git\"")]
#[case::service_url("http://ci.example.test/", "http://operator:swordfish@ci.example.test/")]
#[case::syntax("key = { file = \"keys/recovery.txt\" }", "key = \"AGE-SECRET-KEY-1SWORDFISH")]
#[case::credentials(
    "url = \"base.git\"",
    "url = \"https://git.example.test/\"\ncredentials = \"Authorization: Bearer swordfish\""
)]
#[case::credentials_variable(
    "url = \"base.git\"",
    "url = \"https://git.example.test/\"\ncredentials = { header-env = \"Authorization: Bearer swordfish\" }"
)]
fn a_literal_secret_is_refused_and_not_repeated(#[context] context: Context, #[case] old: &str, #[case] new: &str) {
    let error = error(old, new);

    assert!(!error.to_lowercase().contains("swordfish"), "{error}");
    insta::assert_snapshot!(format!("secret_{}", context.description.unwrap()), error);
}

#[test]
fn a_missing_table_is_named() {
    let (before, rest) = COMPLETE.split_once("[bootstrap]").unwrap();
    let (_, after) = rest.split_once("[machine]").unwrap();

    insta::assert_snapshot!(Directory::new().error(&format!("{before}[machine]{after}")));
}

#[test]
fn a_secret_needs_a_sops_file_to_come_from() {
    let text = COMPLETE.replace("files = [\"secrets/secrets.yaml\"]", "files = []");
    let text = text.replace("file = \"secrets/secrets.yaml\"\n", "");

    insta::assert_snapshot!(Directory::new().error(&text));
}

#[test]
fn a_missing_definition_says_how_to_write_one() {
    let error = super::HostDefinition::load("nowhere/coldproof.toml".as_ref()).unwrap_err();
    insta::assert_snapshot!(error);
}

/// Whatever is cut out of a good definition and put in its place, loading it answers and points into the file.
#[test]
fn any_text_is_loaded_or_refused() {
    let directory = Directory::new();
    let anything = "\\PC{0,20}|[\\]\\[={}\"'\n.#a-z]{0,20}";
    proptest!(|(at in 0..COMPLETE.len(), length in 0..60_usize, new in anything)| {
        let end = (at + length).min(COMPLETE.len());
        let text = format!("{}{new}{}", &COMPLETE[..at], &COMPLETE[end..]);

        if let Err(super::HostError::Invalid(error)) = directory.load(&text) {
            prop_assert!(error.line >= 1 && error.line <= text.lines().count() + 1);
            prop_assert!(error.to_string().contains("= remedy: "));
        }
    });
}
