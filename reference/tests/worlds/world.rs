//! A world as somebody meets it who has only the directory: clone, decrypt, verify.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::common::{Written, decrypt_with, openssl, sops};
use coldproof_reference::world::{self, WorldOptions};
use rstest::rstest;

#[test]
fn the_repository_clones_with_its_secrets_at_the_tip_of_their_branch() {
    let world = Written::sound();
    let work = world.clone_recursively();
    assert!(work.join("hosts/cc-ci/default.nix").is_file());
    assert!(fs::read_to_string(work.join("secrets/secrets.yaml")).unwrap().contains("ENC[AES256_GCM"));
    let tip = world.git(&world.world.secrets(), &["rev-parse", "main"]);
    assert_eq!(world.git(&work, &["rev-parse", "HEAD:secrets"]), tip);
    for repository in [world.world.base(), world.world.secrets()] {
        let commits: u32 = world.git(&repository, &["rev-list", "--count", "main"]).parse().unwrap();
        assert!(commits >= 2, "{} has {commits} commits", repository.display());
        world.git(&repository, &["fsck", "--strict"]);
    }
}

#[rstest]
#[case::recovery_key(|world: &Written| world.recovery_key_file())]
#[case::host_key(|world: &Written| world.host_key_as_age())]
fn each_recipient_decrypts_every_secret(#[case] key: fn(&Written) -> std::path::PathBuf) {
    let world = Written::sound();
    let secrets = decrypt_with(&key(&world), &world.secrets_file()).expect("sops decrypts");
    assert_eq!(secrets.len(), 8, "{:?}", secrets.keys());
    assert!(secrets.values().all(|value| !value.is_empty()));
    assert!(secrets["wildcard_key"].starts_with("-----BEGIN PRIVATE KEY-----"));
}

/// The script by itself, as sops runs it in the guest.
#[test]
fn the_flake_makes_an_identity_of_the_host_key_that_decrypts() {
    let world = Written::by_host_key();
    let work = world.clone_recursively();
    let key = world.world.dir.join("keys/ssh_host_ed25519_key");
    let derived = Command::new("bash").arg(work.join("nixos/ssh-to-age.sh")).arg(key).output().unwrap();
    let identity = world.scratch("derived.txt", &String::from_utf8(derived.stdout).unwrap());
    assert_eq!(decrypt_with(&identity, &world.secrets_file()).unwrap().len(), 8);
    let host = fs::read_to_string(work.join("hosts/cc-ci/default.nix")).unwrap();
    let path = world.definition()["bootstrap"]["path"].as_str().unwrap().to_owned();
    assert!(host.contains(&format!("age.sshKeyPaths = [ \"{path}\" ];")), "{host}");
}

#[test]
fn a_host_with_a_swarm_declares_as_many_replicas_as_its_stack_has() {
    let world = Written::with_swarm();
    let host = world.clone_recursively().join("hosts/cc-ci");
    assert!(fs::read_to_string(host.join("default.nix")).unwrap().contains("imports = [ ./swarm ];"));
    let stack = fs::read_to_string(host.join("swarm/stack.yaml")).unwrap();
    let replicas = stack.lines().filter_map(|line| line.trim().strip_prefix("replicas: "));
    let replicas: i64 = replicas.map(|number| number.parse::<i64>().unwrap()).sum();
    let definition = world.definition();
    let declared = &definition["services"]["apps"];
    assert_eq!((declared["stack"].as_str(), declared["replicas"].as_integer()), (Some("ci"), Some(replicas)));
    let packages = definition["machine"]["packages"].as_array().unwrap();
    assert!(packages.iter().any(|package| package.as_str() == Some("docker.io")), "{packages:?}");
    assert!(!Written::sound().clone_recursively().join("hosts/cc-ci/swarm").exists());
}

#[test]
fn a_key_that_is_no_recipient_decrypts_nothing() {
    let (world, other) = (Written::sound(), Written::sound());
    let refused = decrypt_with(&other.recovery_key_file(), &world.secrets_file()).unwrap_err();
    assert!(refused.contains("did not match any of the recipients"), "{refused}");
}

#[test]
fn the_leaf_in_git_verifies_to_the_root_through_its_intermediate() {
    let world = Written::sound();
    let secrets = decrypt_with(&world.recovery_key_file(), &world.secrets_file()).unwrap();
    let chain = world.scratch("fullchain.pem", &secrets["wildcard_cert"]);
    let key = world.scratch("privkey.pem", &secrets["wildcard_key"]);
    let root = world.world.dir.join("ca/root.pem");
    for name in ["ci.example.test", "drone.ci.example.test", "probe-1.ci.example.test"] {
        let verified = openssl(&[
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-verify_hostname",
            name,
            "-CAfile",
            root.to_str().unwrap(),
            "-untrusted",
            chain.to_str().unwrap(),
            chain.to_str().unwrap(),
        ]);
        assert!(verified.ends_with("OK\n"), "{verified}");
    }
    let leaf = openssl(&["x509", "-in", chain.to_str().unwrap(), "-noout", "-pubkey"]);
    assert_eq!(leaf, openssl(&["pkey", "-in", key.to_str().unwrap(), "-pubout"]));
}

#[test]
fn private_keys_are_for_their_owner_only() {
    let world = Written::sound();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.world.dir), 0o700);
    for entry in fs::read_dir(world.world.dir.join("keys")).unwrap() {
        let path = entry.unwrap().path();
        let expected = if path.extension().is_some_and(|extension| extension == "pub") { 0o644 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

#[test]
fn two_worlds_share_no_key() {
    let (one, other) = (Written::sound(), Written::sound());
    for file in ["keys/recovery.txt", "keys/ssh_host_ed25519_key", "ca/root.pem"] {
        assert_ne!(
            fs::read(one.world.dir.join(file)).unwrap(),
            fs::read(other.world.dir.join(file)).unwrap(),
            "{file}"
        );
    }
}

#[test]
fn a_directory_with_something_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "precious").unwrap();
    let refused =
        world::write(dir.path(), &WorldOptions { sops: &sops(), fault: None, by_host_key: false, swarm: false })
            .unwrap_err();
    assert!(refused.to_string().contains("is not empty"), "{refused}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
