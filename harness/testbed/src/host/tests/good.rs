//! What a good definition becomes.

use coldproof_incus::server::ServerTrust;
use coldproof_machines::disk_image::{Control, DiskBus, DiskImage, Firmware, Nic};
use rstest::rstest;

use super::{COMPLETE, Directory};
use crate::host::{FaultStage, KeySource, PackageName, Provider, Repository};

const MINIMAL: &str = r#"
[host]
name = "cc-ci"
[source]
url = "https://git.example.test/base.git"
revision = "main"
credentials = { header-env = "GIT_HEADER" }
[bootstrap]
key = { command = ["pass", "show", "recovery"] }
path = "/var/lib/sops-nix/key.txt"
recipient = "RECIPIENT"
"#;

fn minimal() -> String {
    let recipient = COMPLETE.split('"').find(|text| text.starts_with("age1")).unwrap();
    MINIMAL.replace("RECIPIENT", recipient)
}

#[test]
fn every_key_is_taken_over() {
    let directory = Directory::new();
    let definition = directory.load(COMPLETE).unwrap();

    insta::assert_json_snapshot!(definition.expectations());
    assert_eq!(definition.forwards().into_iter().collect::<Vec<_>>(), [80, 8443]);
    assert_eq!(definition.source.tree, Some(directory.path("operator")));
    assert_eq!(definition.bootstrap.key, KeySource::File(directory.path("keys/recovery.txt")));
    assert_eq!(definition.host.attribute.as_str(), "cc-ci-nixos");
    assert_eq!(definition.host.flake.as_str(), "hosts");
    assert_eq!(definition.host.rebuild.as_str(), "nixos-rebuild-ng");
    assert_eq!(definition.machine.memory.bytes(), 3 << 30);
    assert_eq!(definition.machine.disk.bytes(), 12 << 30);
    assert_eq!(definition.machine.cpus, 4);
    assert_eq!(
        definition.machine.image,
        Some(DiskImage {
            file: directory.path("cc-ci.qcow2"),
            firmware: Firmware::Uefi,
            bus: DiskBus::Scsi,
            serial: Some("root-0".to_owned()),
            nic: Nic::E1000e,
            control: Control::Ssh { key: directory.path("keys/recovery.txt") },
        })
    );
    let original = definition.machine.original.unwrap();
    assert_eq!((original.ssh.destination.as_str(), original.witness), ("root@cc-ci.example.test", Provider::Docker));
    assert_eq!(original.ssh.config, Some(directory.path("ssh_config")));
    assert_eq!(original.ssh.address, Some([192, 0, 2, 7].into()));
    let incus = definition.machine.incus.unwrap();
    assert_eq!(
        (incus.image.as_deref(), incus.pool.as_deref(), incus.budget),
        (Some("cc-ci"), Some("fast"), Some(16 << 30))
    );
    assert_eq!(incus.user_data.as_deref(), Some("#cloud-config\n"));
    assert_eq!(incus.server.key, directory.path("keys/recovery.txt"));
    assert_eq!(incus.server.trust, ServerTrust::Fingerprint("0123456789abcdef".repeat(4)));
    assert_eq!(definition.tls.unwrap().roots.len(), 1);
    assert_eq!(definition.fault.unwrap().stage, FaultStage::Switched);
}

#[test]
fn what_is_left_out_has_its_default() {
    let definition = Directory::new().load(&minimal()).unwrap();

    assert_eq!(definition.host.attribute, definition.host.name);
    assert_eq!(definition.host.flake.as_str(), ".");
    assert_eq!(definition.host.rebuild.as_str(), "nixos-rebuild");
    assert_eq!(definition.machine.provider, Provider::Qemu);
    assert_eq!(definition.machine.memory.bytes(), 2 << 30);
    assert_eq!(definition.machine.cpus, 2);
    assert_eq!(definition.machine.disk.bytes(), 8 << 30);
    assert_eq!(definition.machine.deadline.duration().as_secs(), 600);
    assert!(!definition.source.private);
    assert!(definition.forwards().is_empty());
    assert_eq!(definition.bootstrap.key, KeySource::Command(["pass", "show", "recovery"].map(String::from).to_vec()));
}

#[test]
fn packages_are_taken_over() {
    let text = minimal() + "[machine]\npackages = [\"docker.io\", \"g++\", \"docker-cli\"]\n";
    let packages = Directory::new().load(&text).unwrap().machine.packages;
    assert_eq!(packages.iter().map(PackageName::as_str).collect::<Vec<_>>(), ["docker-cli", "docker.io", "g++"]);
}

#[test]
fn packages_are_declared_once_and_not_for_a_server_s_image() {
    let twice = minimal() + "[machine]\npackages = [\"docker.io\", \"docker.io\"]\n";
    insta::assert_snapshot!("packages_twice", Directory::new().error(&twice));
    let (before, image) = COMPLETE.split_once("[machine.image]").unwrap();
    let (_, after) = image.split_once("\n\n").unwrap();
    let on_server =
        format!("{before}{after}").replace("provider = \"qemu\"", "provider = \"incus\"\npackages = [\"git\"]");
    insta::assert_snapshot!("packages_for_a_server_s_image", Directory::new().error(&on_server));
}

#[rstest]
#[case::relative("base.git")]
#[case::here("./base.git")]
#[case::absolute("DIR/base.git")]
#[case::file_url("file://DIR/base.git")]
fn a_path_or_file_url_is_a_local_repository(#[case] url: &str) {
    let directory = Directory::new();
    let url = url.replace("DIR", directory.0.path().to_str().unwrap());
    let text = COMPLETE.replace("url = \"base.git\"", &format!("url = \"{url}\""));

    let Repository::Local { path, declared } = directory.load(&text).unwrap().source.repository else {
        panic!("{url} must be local");
    };

    assert_eq!(path.canonicalize().unwrap(), directory.path("base.git").canonicalize().unwrap());
    assert_eq!(declared, url);
}

#[test]
fn an_ssh_key_has_the_recipient_that_ssh_to_age_gives_it() {
    let definition = Directory::new().load(COMPLETE).unwrap();
    let (_, host) = definition.recipients.iter().find(|(name, _)| name.as_str() == "host").unwrap();

    assert!(host.ssh);
    assert_eq!(host.age.as_str(), "age126032zhh6mvfs499qmswhtnpea7ja4uu5erjp4h96deu6u3dy4qq4cextg");
}

#[test]
fn printing_a_definition_shows_where_secrets_are_and_no_secret() {
    let directory = Directory::new();
    directory.write("keys/recovery.txt", "AGE-SECRET-KEY-1MARKER");

    let printed = format!("{:?}", directory.load(COMPLETE).unwrap());

    assert!(printed.contains("keys/recovery.txt"));
    assert!(!printed.contains("MARKER"));
}
