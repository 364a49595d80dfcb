use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use age::secrecy::ExposeSecret as _;
use coldproof_evidence::source::{Decryption, SopsFileObservation, SopsObservation};
use coldproof_machines::mark::Mark;
use hmac::{Hmac, KeyInit, Mac};
use rstest::rstest;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sha2::Sha256;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::{HeldKey, SopsError, SopsRequest, observe, recipients};
use crate::{
    host::{RepositoryPath, SopsValue, Tls},
    source::{Clone, ErrorKind},
    tools,
};

const HMAC_KEY: [u8; 32] = [7; 32];
const PLAIN: &str =
    "# comment\npassword: hunter2\nnested:\n    port: 5432\n    list:\n        - a\n        - \"b\\nc\\n\"\n";

/// A clone with one sops file, and the keys that it was encrypted for.
struct World {
    run: TempDir,
    clone: Clone,
    keys: BTreeMap<&'static str, Zeroizing<String>>,
}

impl World {
    fn new(file: &str, plain: &str) -> Self {
        let run = tempfile::tempdir().unwrap();
        let clone = Clone(tempfile::tempdir_in(run.path()).unwrap());
        let keys = ["recovery", "host", "stranger"].map(|name| (name, age_key()));
        let world = Self { run, clone, keys: keys.into() };
        world.encrypt(file, plain, &["recovery", "host"]);
        world
    }

    fn recipient(&self, name: &str) -> String {
        recipients::of_identity(&self.keys[name]).unwrap()
    }

    fn encrypt(&self, file: &str, plain: &str, recipients: &[&str]) {
        let path = self.path(file);
        fs::write(&path, plain).unwrap();
        let recipients: Vec<_> = recipients.iter().map(|name| self.recipient(name)).collect();
        let output = Command::new(sops())
            .args(["encrypt", "--in-place", "--age", &recipients.join(",")])
            .arg(&path)
            .env("SOPS_DISABLE_VERSION_CHECK", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.clone.path().join(file)
    }

    fn edit(&self, file: &str, edit: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(self.path(file)).unwrap();
        let edited = edit(&text);
        assert_ne!(edited, text, "the edit must change something");
        fs::write(self.path(file), edited).unwrap();
    }

    async fn observe(&self, files: &[&str], held: &[&str], tls: Option<&Tls>) -> Result<SopsObservation, SopsError> {
        let files: Vec<_> = files.iter().map(|file| RepositoryPath::try_from((*file).to_owned()).unwrap()).collect();
        let held = held.iter().map(|name| HeldKey { name: (*name).to_owned(), identity: self.keys[name].clone() });
        let request = SopsRequest {
            sops: sops(),
            files: &files,
            held: held.collect(),
            hmac_key: &HMAC_KEY,
            tls,
            mark: Mark::default(),
        };
        Ok(observe(&self.clone, &request).await?.observation)
    }

    async fn one(&self, file: &str, held: &[&str]) -> SopsFileObservation {
        self.observe(&[file], held, None).await.unwrap().files.remove(0)
    }
}

fn sops() -> PathBuf {
    tools::sops().unwrap()
}

fn age_key() -> Zeroizing<String> {
    Zeroizing::new(age::x25519::Identity::generate().to_string().expose_secret().to_owned())
}

fn hash(value: &str) -> String {
    let mut hmac = Hmac::<Sha256>::new_from_slice(&HMAC_KEY).unwrap();
    hmac.update(value.as_bytes());
    hex::encode(hmac.finalize().into_bytes())
}

fn hashes(values: &[(&str, &str)]) -> Decryption {
    Decryption::Values(values.iter().map(|(key, value)| ((*key).to_owned(), hash(value))).collect())
}

#[rstest]
#[case("secrets.yaml", PLAIN)]
#[case("secrets.json", r#"{"password": "hunter2", "nested": {"port": 5432, "list": ["a", "b\nc\n"]}}"#)]
#[tokio::test]
async fn each_held_key_alone_gives_the_same_values(#[case] file: &str, #[case] plain: &str) {
    let world = World::new(file, plain);
    let observed = world.one(file, &["recovery", "host"]).await;
    let expected = hashes(&[
        ("nested.list.0", "a"),
        ("nested.list.1", "b\nc\n"),
        ("nested.port", "5432"),
        ("password", "hunter2"),
    ]);
    assert_eq!(observed.decryptions["recovery"], expected);
    assert_eq!(observed.decryptions["host"], expected);
    assert_eq!(observed.mac, Ok(()));
    assert_eq!(observed.recipients, [world.recipient("recovery"), world.recipient("host")]);
    assert_eq!(observed.other_recipients, Vec::<String>::new());
    assert_eq!(observed.values.len(), 4);
    assert!(observed.values.values().all(|encrypted| *encrypted));
}

#[tokio::test]
async fn a_binary_file_has_one_value() {
    let world = World::new("blob.bin", "binary\n");
    let observed = world.one("blob.bin", &["host"]).await;
    assert_eq!(observed.values, BTreeMap::from([("data".to_owned(), true)]));
    assert_eq!(observed.decryptions["host"], hashes(&[("data", "binary\n")]));
}

#[tokio::test]
async fn a_key_that_is_no_recipient_decrypts_nothing() {
    let world = World::new("secrets.yaml", PLAIN);
    let observed = world.one("secrets.yaml", &["stranger"]).await;
    let Decryption::Failed(words) = &observed.decryptions["stranger"] else { panic!("{observed:?}") };
    assert!(words.starts_with("exit 128:") && words.contains("did not match any of the recipients"), "{words}");
    assert!(!words.contains(&*world.run.path().to_string_lossy()), "{words}");
    assert!(observed.mac.unwrap_err().starts_with("not verified: exit 128"));

    let both = world.one("secrets.yaml", &["stranger", "host"]).await;
    assert_eq!(both.mac, Ok(()));
    assert_eq!(world.one("secrets.yaml", &[]).await.mac.unwrap_err(), "not verified: no key is held");
}

#[tokio::test]
async fn a_third_recipient_is_listed() {
    let world = World::new("secrets.yaml", PLAIN);
    world.encrypt("more.yaml", PLAIN, &["recovery", "host", "stranger"]);
    let observed = world.one("more.yaml", &["host"]).await;
    assert_eq!(observed.recipients, ["recovery", "host", "stranger"].map(|name| world.recipient(name)));
}

#[tokio::test]
async fn the_host_keys_identity_decrypts() {
    let mut world = World::new("secrets.yaml", PLAIN);
    let file = world.run.path().join("ssh_host_ed25519_key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status().unwrap();
    assert!(made.success());
    world.keys.insert("ssh", Zeroizing::new(fs::read_to_string(&file).unwrap()));
    world.encrypt("secrets.yaml", "a: b\n", &["ssh"]);
    assert_eq!(world.one("secrets.yaml", &["ssh"]).await.decryptions["ssh"], hashes(&[("a", "b")]));
}

#[tokio::test]
async fn a_plaintext_value_is_seen_although_its_code_verifies() {
    let world = World::new("secrets.yaml", "password: hunter2\nnote_unencrypted: hello\n");
    let observed = world.one("secrets.yaml", &["host"]).await;
    let values = BTreeMap::from([("note_unencrypted".to_owned(), false), ("password".to_owned(), true)]);
    assert_eq!((observed.values, observed.mac), (values, Ok(())));
}

#[tokio::test]
async fn an_edited_file_has_the_wrong_code_and_still_its_values() {
    let world = World::new("secrets.yaml", "password: hunter2\nnote_unencrypted: hello\n");
    world.edit("secrets.yaml", |text| text.replace("hello", "goodbye"));
    let observed = world.one("secrets.yaml", &["host", "recovery"]).await;
    assert!(observed.mac.unwrap_err().contains("MAC mismatch"));
    let expected = hashes(&[("note_unencrypted", "goodbye"), ("password", "hunter2")]);
    assert_eq!(observed.decryptions["recovery"], expected);
}

#[tokio::test]
async fn a_damaged_code_and_a_damaged_value_are_told_in_sops_own_words() {
    let damage = |text: &str, key: &str| {
        let at = text.find(key).unwrap();
        let tag = at + text[at..].find("tag:").unwrap() + 4;
        let other = if &text[tag..=tag] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &text[..tag], &text[tag + 1..])
    };
    let world = World::new("secrets.yaml", PLAIN);
    world.edit("secrets.yaml", |text| damage(text, "mac:"));
    let observed = world.one("secrets.yaml", &["host"]).await;
    assert!(observed.mac.unwrap_err().contains("MAC"));

    let world = World::new("secrets.yaml", PLAIN);
    world.edit("secrets.yaml", |text| damage(text, "password:"));
    let observed = world.one("secrets.yaml", &["host"]).await;
    let Decryption::Failed(words) = &observed.decryptions["host"] else { panic!("{observed:?}") };
    assert!(words.starts_with("exit 25:"), "{words}");
    assert!(observed.mac.is_err());
}

#[tokio::test]
async fn a_file_that_sops_never_touched_is_plain() {
    let world = World::new("secrets.yaml", PLAIN);
    fs::write(world.path("plain.yaml"), "password: hunter2\n").unwrap();
    fs::write(world.path("broken.yaml"), "password: [hunter2\n").unwrap();
    let observed = world.one("plain.yaml", &["host"]).await;
    assert_eq!(observed.values, BTreeMap::from([("password".to_owned(), false)]));
    assert!(observed.mac.unwrap_err().contains("metadata not found"));
    let observed = world.one("broken.yaml", &["host"]).await;
    let words = observed.mac.unwrap_err();
    assert!(words.starts_with("it is not YAML") && !words.contains("hunter2"), "{words}");
}

#[tokio::test]
async fn what_the_definition_gets_wrong_is_its_own_fault() {
    let mut world = World::new("secrets.yaml", PLAIN);
    let outside = world.run.path().join("outside.yaml");
    fs::copy(world.path("secrets.yaml"), &outside).unwrap();
    symlink(&outside, world.path("link.yaml")).unwrap();
    for file in ["missing.yaml", "link.yaml", "."] {
        let error = world.observe(&[file], &["host"], None).await.unwrap_err();
        assert!(matches!(error, SopsError::Missing { .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Definition);
    }
    world.keys.insert("host", Zeroizing::new("no key".to_owned()));
    let error = world.observe(&["secrets.yaml"], &["host"], None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Definition);
    assert!(error.to_string().contains("recipient host"), "{error}");
}

#[tokio::test]
async fn a_missing_sops_is_infrastructure() {
    let world = World::new("secrets.yaml", PLAIN);
    let held = vec![HeldKey { name: "host".to_owned(), identity: world.keys["host"].clone() }];
    let files = [RepositoryPath::try_from("secrets.yaml".to_owned()).unwrap()];
    let sops = PathBuf::from("/nonexistent/sops");
    let request = SopsRequest { sops, files: &files, held, hmac_key: &HMAC_KEY, tls: None, mark: Mark::default() };
    let error = observe(&world.clone, &request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Infrastructure);
}

#[tokio::test]
async fn the_committed_certificate_is_described_with_its_keys_public_half() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["ci.example.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    let plain = serde_json::json!({"tls": {"chain": certificate.pem(), "key": key.serialize_pem()}});
    let world = World::new("tls.json", &plain.to_string());
    let place = |key: &str| SopsValue {
        sops_file: RepositoryPath::try_from("tls.json".to_owned()).unwrap(),
        key: key.to_owned(),
    };
    let mut tls = Tls {
        certificate: place("tls.chain"),
        private_key: Some(place("tls.key")),
        roots: vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()],
        names: Vec::new(),
        wildcard_probe: false,
        port: 443,
        min_days: 14,
    };
    let observed = world.observe(&["tls.json"], &["stranger", "host"], Some(&tls)).await.unwrap();
    let described = observed.certificate.unwrap();
    assert_eq!(described.chain_der, [hex::encode(certificate.der())]);
    assert_eq!(described.key_spki_sha256.as_ref(), Some(&described.leaf_spki_sha256));
    assert_eq!(described.roots_der, described.chain_der);

    tls.certificate = place("tls.nothing");
    let observed = world.observe(&["tls.json"], &["host"], Some(&tls)).await.unwrap();
    assert_eq!(observed.certificate.unwrap().chain_der, Vec::<String>::new());
}
