//! Each fault breaks what it says, and leaves the rest of the world whole.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::common::{Written, decrypt_with, openssl};
use coldproof_reference::{Layer, faults};
use rstest::rstest;

/// What is judged of every host that declares the subjects.
const CRITERIA: [&str; 45] = [
    "blank.inventory",
    "blank.one-secret",
    "convergence.idempotent",
    "convergence.no-failures",
    "convergence.one-switch",
    "convergence.running",
    "coverage.complete",
    "identity.contents",
    "identity.deterministic",
    "identity.original",
    "identity.reproduced",
    "identity.source-forms",
    "identity.toplevel",
    "isolation.egress",
    "leaks.none",
    "lifecycle.reboot",
    "lifecycle.resize",
    "lifecycle.upgrade",
    "ordering.race-free",
    "resources.budget",
    "resources.peak-disk",
    "resources.peak-memory",
    "secrets.each-recipient",
    "secrets.in-place",
    "secrets.missing-certificate-is-loud",
    "secrets.missing-key-is-loud",
    "secrets.modes",
    "secrets.wrong-key-is-loud",
    "services.http",
    "services.stacks",
    "services.units",
    "source.gitlink-current",
    "source.no-credentials",
    "source.private",
    "source.recipients-exact",
    "source.recursive-clone",
    "source.secrets-encrypted",
    "teardown.clean",
    "tls.chain",
    "tls.key-matches",
    "tls.leaf-equals-git",
    "tls.names",
    "tls.protocols",
    "tls.unknown-name",
    "tls.validity",
];

#[test]
fn every_criterion_has_a_fault_that_it_must_catch() {
    let caught: BTreeSet<&str> = faults().iter().flat_map(|fault| fault.criterion).copied().collect();
    assert_eq!(caught, CRITERIA.into());
}

#[test]
fn names_are_unique_and_are_what_the_command_lists() {
    let names: BTreeSet<&str> = faults().iter().map(|fault| fault.name).collect();
    assert_eq!(names.len(), faults().len());
    let listed = serde_json::to_value(faults()).unwrap();
    for (fault, listed) in faults().iter().zip(listed.as_array().unwrap()) {
        assert_eq!(listed["name"], fault.name);
        assert_eq!(listed["layer"], fault.layer.to_string());
        assert!(!listed["criterion"].as_array().unwrap().is_empty() && listed["summary"].is_string());
        assert_eq!(listed.as_object().unwrap().len(), 4);
    }
}

#[test]
fn a_fault_is_possible_unless_there_is_a_reason() {
    let reason =
        |fault: &str, provider| faults().iter().find(|known| known.name == fault).unwrap().impossible_on(provider);
    assert!(reason("secret-in-core-dump", "docker").is_some_and(|reason| reason.contains("core dumps")));
    assert_eq!(reason("secret-in-core-dump", "qemu"), None);
    assert_eq!(reason("secret-in-archive", "docker"), None);
}

#[test]
fn every_fault_can_be_seeded_and_a_script_states_its_own_verdict() {
    for fault in faults() {
        let world = Written::with_fault(fault.name);
        let script = world.world.dir.join("fault.sh");
        let table = world.definition().get("fault").cloned();
        assert_eq!(script.exists(), fault.layer == Layer::Guest, "{}", fault.name);
        let Some(table) = table else {
            assert!(!script.exists(), "{} has a script that nothing declares", fault.name);
            continue;
        };
        assert_eq!(table["name"].as_str(), Some(fault.name));
        assert_eq!(table["script"].as_str(), Some("fault.sh"));
        assert!(["blank", "bootstrapped", "switched", "teardown"].contains(&table["stage"].as_str().unwrap()));
        let script = fs::read_to_string(script).unwrap();
        let expected = format!("# expect: fail {}", fault.criterion.join(", "));
        assert_eq!(script.lines().nth(1), Some(expected.as_str()), "{}", fault.name);
        assert!(!script.contains('@'), "{} has a placeholder left", fault.name);
    }
}

#[test]
fn a_dirty_tree_differs_from_its_commit() {
    let world = Written::with_fault("operator-tree-dirty");
    let tree = world.world.dir.join("operator");
    assert_eq!(world.git(&tree, &["status", "--porcelain"]), " M hosts/cc-ci/default.nix");
    assert_eq!(world.definition()["source"]["tree"].as_str(), Some("operator"));
    assert_same_commits(&world, &tree);
}

#[test]
fn a_token_is_in_a_tree_that_is_clean_otherwise() {
    let world = Written::with_fault("token-in-git-config");
    let tree = world.world.dir.join("operator");
    assert_eq!(world.git(&tree, &["status", "--porcelain"]), "");
    assert!(fs::read_to_string(tree.join(".git/config")).unwrap().contains("Authorization: Bearer "));
    assert_same_commits(&world, &tree);
}

fn assert_same_commits(world: &Written, tree: &Path) {
    assert_eq!(world.git(tree, &["rev-parse", "HEAD"]), world.git(&world.world.base(), &["rev-parse", "main"]));
    let submodule = tree.join("secrets");
    assert_eq!(
        world.git(&submodule, &["rev-parse", "HEAD"]),
        world.git(&world.world.secrets(), &["rev-parse", "main"])
    );
}

#[test]
fn an_old_gitlink_is_behind_the_branch_and_still_decrypts() {
    let world = Written::with_fault("gitlink-old");
    let gitlink = world.git(&world.world.base(), &["rev-parse", "main:secrets"]);
    assert_eq!(gitlink, world.git(&world.world.secrets(), &["rev-parse", "main~1"]));
    assert!(decrypt_with(&world.recovery_key_file(), &world.secrets_file()).is_ok());
}

#[test]
fn a_value_in_plain_text_is_under_a_mac_that_verifies() {
    let world = Written::with_fault("value-in-plain-text");
    let file = fs::read_to_string(world.secrets_file()).unwrap();
    let line = file.lines().find(|line| line.starts_with("registry_note_unencrypted:")).unwrap();
    assert!(!line.contains("ENC["), "{line}");
    assert!(decrypt_with(&world.recovery_key_file(), &world.secrets_file()).is_ok());
    let waived = world.definition()["coverage"]["waive"][0]["what"].as_str().unwrap().to_owned();
    assert_eq!(waived, "sops-key:secrets/secrets.yaml#registry_note_unencrypted");
}

#[rstest]
#[case("recipient-undeclared", 3)]
#[case("gitlink-old", 2)]
fn recipients_are_counted(#[case] fault: &str, #[case] recipients: usize) {
    let world = Written::with_fault(fault);
    let file = fs::read_to_string(world.secrets_file()).unwrap();
    assert_eq!(file.matches("recipient: age1").count(), recipients);
}

#[test]
fn a_recipient_that_is_a_label_only_cannot_decrypt() {
    let world = Written::with_fault("recipient-label-only");
    assert!(decrypt_with(&world.recovery_key_file(), &world.secrets_file()).is_ok());
    let refused = decrypt_with(&world.host_key_as_age(), &world.secrets_file()).unwrap_err();
    assert!(refused.contains("did not match any of the recipients"), "{refused}");
}

#[test]
fn a_public_repository_has_git_daemons_marker() {
    let world = Written::with_fault("repository-public");
    assert!(world.world.secrets().join("git-daemon-export-ok").exists());
    assert!(!world.world.base().join("git-daemon-export-ok").exists());
}

#[test]
fn an_undeclared_secret_is_in_git_and_in_the_configuration() {
    let world = Written::with_fault("secret-undeclared");
    let secrets = decrypt_with(&world.recovery_key_file(), &world.secrets_file()).unwrap();
    assert!(secrets.contains_key("smtp_password"));
    assert!(host_file(&world).contains("smtp_password = { };"));
    assert!(world.definition()["secrets"].get("smtp_password").is_none());
}

#[rstest]
#[case::chain("intermediate-missing", "unable to get local issuer certificate")]
#[case::names("leaf-lacks-names", "hostname mismatch")]
fn a_certificate_fails_for_the_stated_reason_only(#[case] fault: &str, #[case] reason: &str) {
    let world = Written::with_fault(fault);
    let secrets = decrypt_with(&world.recovery_key_file(), &world.secrets_file()).unwrap();
    let chain = world.scratch("fullchain.pem", &secrets["wildcard_cert"]);
    let verified = verify(&world, &chain, "drone.ci.example.test");
    assert!(verified.contains(reason), "{verified}");
    assert_eq!(verified.matches("error ").count(), 2, "one reason, and the summary: {verified}");
}

#[test]
fn a_key_of_another_leaf_does_not_match_a_leaf_that_verifies() {
    let world = Written::with_fault("key-of-another-leaf");
    let secrets = decrypt_with(&world.recovery_key_file(), &world.secrets_file()).unwrap();
    let chain = world.scratch("fullchain.pem", &secrets["wildcard_cert"]);
    let key = world.scratch("privkey.pem", &secrets["wildcard_key"]);
    assert!(verify(&world, &chain, "ci.example.test").ends_with("OK\n"));
    let leaf = openssl(&["x509", "-in", chain.to_str().unwrap(), "-noout", "-pubkey"]);
    assert_ne!(leaf, openssl(&["pkey", "-in", key.to_str().unwrap(), "-pubout"]));
}

#[test]
fn a_leaf_about_to_expire_still_verifies() {
    let world = Written::with_fault("leaf-about-to-expire");
    let secrets = decrypt_with(&world.recovery_key_file(), &world.secrets_file()).unwrap();
    let chain = world.scratch("fullchain.pem", &secrets["wildcard_cert"]);
    assert!(verify(&world, &chain, "ci.example.test").ends_with("OK\n"));
    let until = openssl(&["x509", "-in", chain.to_str().unwrap(), "-noout", "-enddate"]);
    let ends = |days: u32| {
        let seconds = (days * 24 * 60 * 60).to_string();
        Command::new("openssl").args(["x509", "-noout", "-checkend", &seconds, "-in"]).arg(&chain).output().unwrap()
    };
    assert!(ends(5).status.success() && !ends(14).status.success(), "{until}");
}

#[rstest]
#[case("stale-leaf-served")]
#[case("default-certificate-stale")]
fn a_stale_chain_verifies_and_is_of_the_same_key(#[case] fault: &str) {
    let world = Written::with_fault(fault);
    let script = fs::read_to_string(world.world.dir.join("fault.sh")).unwrap();
    let older = script.split("<<'PEM'\n").nth(1).and_then(|rest| rest.split("\nPEM\n").next()).unwrap();
    let older = world.scratch("older.pem", older);
    let current = decrypt_with(&world.recovery_key_file(), &world.secrets_file()).unwrap()["wildcard_cert"].clone();
    let current = world.scratch("current.pem", &current);
    assert!(verify(&world, &older, "ci.example.test").ends_with("OK\n"));
    let of = |file: &Path, what: &str| openssl(&["x509", "-in", file.to_str().unwrap(), "-noout", what]);
    assert_eq!(of(&older, "-pubkey"), of(&current, "-pubkey"));
    assert_ne!(of(&older, "-fingerprint"), of(&current, "-fingerprint"));
    let fourteen_days = (14 * 24 * 60 * 60).to_string();
    let lasting = openssl(&["x509", "-in", older.to_str().unwrap(), "-noout", "-checkend", &fourteen_days]);
    assert!(lasting.contains("will not expire"), "{lasting}");
}

#[rstest]
#[case("reconcilers-unordered", "default.nix", "after = [ ];")]
#[case("reconcilers-unordered", "reconcile.sh", "until mkdir")]
#[case("reconcilers-chained", "default.nix", "builtins.elemAt all")]
#[case("activation-snippet-fails", "default.nix", "system.activationScripts.motd")]
#[case("unit-heals-by-restart", "default.nix", "Restart = \"on-failure\"")]
#[case("oneshot-skipped", "default.nix", "ConditionPathExists")]
#[case("drop-in-timestamped", "default.nix", "nginx.service.d")]
#[case("build-varies", "default.nix", "date '+built at")]
#[case("unit-calls-out", "reconcile.sh", "198.51.100.7")]
#[case("secret-in-store", "default.nix", "ExecStartPre = \"/bin/true --password=")]
#[case("missing-key-ignored", "default.nix", "unitConfig.ConditionPathExists")]
#[case("missing-key-ignored", "../../nixos/sops-install-secrets.sh", "|| exit 0")]
#[case("wrong-key-garbage", "../../nixos/sops-install-secrets.sh", "=changeme")]
#[case("certificate-self-made", "default.nix", "openssl req -x509")]
fn a_switch_fault_is_committed_in_the_host_s_own_files(#[case] fault: &str, #[case] file: &str, #[case] change: &str) {
    let committed =
        |world: &Written| fs::read_to_string(world.clone_recursively().join("hosts/cc-ci").join(file)).unwrap();
    assert!(committed(&Written::with_fault(fault)).contains(change));
    assert!(!committed(&Written::sound()).contains(change));
}

#[rstest]
#[case("swarm/stack.yaml", "node.labels.disk")]
#[case("swarm/deploy.sh", "--detach=true")]
fn a_stack_s_fault_is_committed_with_the_stack(#[case] file: &str, #[case] change: &str) {
    let committed =
        |world: &Written| fs::read_to_string(world.clone_recursively().join("hosts/cc-ci").join(file)).unwrap();
    assert!(committed(&Written::with_fault("stack-short-of-replicas")).contains(change));
    assert!(!committed(&Written::with_swarm()).contains(change));
}

fn host_file(world: &Written) -> String {
    fs::read_to_string(world.clone_recursively().join("hosts/cc-ci/default.nix")).unwrap()
}

fn verify(world: &Written, chain: &Path, name: &str) -> String {
    let (root, chain) = (world.world.dir.join("ca/root.pem"), chain.to_str().unwrap());
    let arguments =
        ["-x509_strict", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile", root.to_str().unwrap()];
    openssl(&[&["verify"], &arguments[..], &["-untrusted", chain, chain]].concat())
}
