//! A world before it is written. Faults are seeded here.

use std::{borrow::Cow, collections::BTreeMap};

use anyhow::{Context, Result, ensure};
use include_dir::{Dir, include_dir};
use rand::{Rng, distr::Alphanumeric};
use rcgen::KeyPair;
use zeroize::Zeroizing;

use crate::{
    authority::Authority,
    identities::{AgeIdentity, HostKey},
    sops::Secrets,
    world::World,
};

static FLAKE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/flake");
const DEFINITION: &str = include_str!("../world/coldproof.toml");

/// Where the reference host is declared, in its repository.
pub(crate) const HOST_FILE: &str = "hosts/cc-ci/default.nix";
/// Where sshd, and sops-nix, look for a host's own key.
const HOST_KEY_PATH: &str = "/etc/ssh/ssh_host_ed25519_key";
/// The names that the leaf in git is valid for.
const LEAF_NAMES: [&str; 2] = ["ci.example.test", "*.ci.example.test"];
/// Secrets that a service generated; the backups' passphrase is a person's.
const TOKENS: [&str; 5] =
    ["bridge_token", "dashboard_session_key", "drone_github_secret", "drone_rpc_secret", "registry_password"];

/// When the script of a fault is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// In the guest, before its inventory is taken.
    Blank,
    /// In the guest, once the key is delivered.
    Bootstrapped,
    /// In the guest, after the switch and before it is observed.
    Switched,
    /// On the controller, before the machine is destroyed. `LEASE` is the machine's directory.
    Teardown,
}

impl Stage {
    /// Its name in a host definition.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Bootstrapped => "bootstrapped",
            Self::Switched => "switched",
            Self::Teardown => "teardown",
        }
    }
}

/// A script for bash, to be run as root.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) stage: Stage,
    /// Borrowed where it is the same in every world.
    pub(crate) text: Cow<'static, str>,
}

/// Everything that a world consists of.
pub(crate) struct Draft {
    /// Files of the host's repository.
    pub(crate) base: BTreeMap<String, String>,
    /// What some of them were in the commits before the last.
    pub(crate) earlier: BTreeMap<String, String>,
    /// `coldproof.toml`
    pub(crate) definition: String,
    /// `.sops.yaml`
    pub(crate) creation_rules: String,
    /// What the sops file holds.
    pub(crate) secrets: Secrets,
    /// Changes the sops file after sops has encrypted it.
    pub(crate) tamper: Option<fn(&str) -> Result<String>>,
    /// Commits the secrets' previous commit in the host's repository, instead of the last.
    pub(crate) old_gitlink: bool,
    /// What is to be done to a machine.
    pub(crate) script: Option<Script>,
    /// What is done to a world once it is written.
    pub(crate) finish: Option<fn(&World) -> Result<()>>,
    pub(crate) recovery: AgeIdentity,
    pub(crate) host_key: HostKey,
    pub(crate) authority: Authority,
    pub(crate) leaf_key: KeyPair,
}

impl Draft {
    /// A sound world, with keys and values of its own.
    pub(crate) fn new() -> Result<Self> {
        let recovery = AgeIdentity::generate();
        let host_key = HostKey::generate("root@cc-ci")?;
        let authority = Authority::generate()?;
        let leaf_key = KeyPair::generate()?;
        let mut draft = Self {
            base: flake_files()?,
            earlier: BTreeMap::new(),
            definition: DEFINITION
                .replace("@RECOVERY_RECIPIENT@", &recovery.recipient())
                .replace("@HOST_PUBLIC_KEY@", &host_key.public),
            creation_rules: format!(
                "# Who can read the secrets: the recovery key, and the host by its SSH host key (ssh-to-age).\n\
                 creation_rules:\n  - path_regex: secrets\\.yaml$\n    age: {},{}\n",
                recovery.recipient(),
                host_key.age.recipient()
            ),
            secrets: TOKENS.iter().map(|&name| (name.to_owned(), token())).collect(),
            tamper: None,
            old_gitlink: false,
            script: None,
            finish: None,
            recovery,
            host_key,
            authority,
            leaf_key,
        };
        // As awkward as a person's may be: it must arrive byte for byte as well.
        let passphrase = format!("{} \"quoted\", C:\\new, 100 %s <é>\nand a second line\n", *token());
        draft.secrets.insert("backup_passphrase".into(), Zeroizing::new(passphrase));
        draft.set_certificate(&draft.chain(&LEAF_NAMES, 0)?);
        draft.secrets.insert("wildcard_key".into(), Zeroizing::new(draft.leaf_key.serialize_pem()));
        Ok(draft)
    }

    /// Has the host decrypt with its own SSH key, which is then the one secret that a blank machine is given.
    pub(crate) fn bootstrap_by_host_key(&mut self) -> Result<()> {
        let file = "    defaultSopsFile = ../../secrets/secrets.yaml;";
        self.edit(HOST_FILE, file, &format!("{file}\n    age.sshKeyPaths = [ \"{HOST_KEY_PATH}\" ];"))?;
        let bootstrap = |key: &str, path: &str, identity: &AgeIdentity| {
            format!("key = {{ file = \"{key}\" }}\npath = \"{path}\"\nrecipient = \"{}\"", identity.recipient())
        };
        let by_file = bootstrap("keys/recovery.txt", "/var/lib/sops-nix/key.txt", &self.recovery);
        let by_host_key = bootstrap("keys/ssh_host_ed25519_key", HOST_KEY_PATH, &self.host_key.age);
        self.edit_definition(&by_file, &by_host_key)
    }

    /// The leaf that is to be served, without the intermediate.
    pub(crate) fn bare_leaf(&self) -> Result<String> {
        self.authority.issue(&LEAF_NAMES, &self.leaf_key, 0)
    }

    /// A leaf for `names`, issued `age_days` ago, and the intermediate: what a server presents.
    pub(crate) fn chain(&self, names: &[&str], age_days: u32) -> Result<String> {
        Ok(self.authority.issue(names, &self.leaf_key, age_days)? + &self.authority.intermediate_pem())
    }

    /// The chain that the certificate in git replaced: an older leaf for the same names and key.
    pub(crate) fn older_chain(&self) -> Result<String> {
        self.chain(&LEAF_NAMES, 60)
    }

    /// A chain for the same names and key that ends within the days which the host definition wants left.
    pub(crate) fn expiring_chain(&self) -> Result<String> {
        self.chain(&LEAF_NAMES, 80)
    }

    /// A chain for the same names and key that ends at the moment in which it is made.
    pub(crate) fn expired_chain(&self) -> Result<String> {
        self.chain(&LEAF_NAMES, 90)
    }

    pub(crate) fn set_certificate(&mut self, pem: &str) {
        self.secrets.insert("wildcard_cert".into(), Zeroizing::new(pem.to_owned()));
    }

    /// Replaces the one occurrence of `from` in a file of the host's repository.
    pub(crate) fn edit(&mut self, file: &str, from: &str, to: &str) -> Result<()> {
        let text = self.base.get_mut(file).with_context(|| format!("the flake has no {file}"))?;
        replace_once(text, from, to).with_context(|| format!("cannot edit {file}"))
    }

    /// Adds a snippet of Nix to what the host declares.
    pub(crate) fn declare(&mut self, nix: &str) -> Result<()> {
        self.edit(HOST_FILE, "  systemd.tmpfiles.rules = [", &format!("{nix}\n\n  systemd.tmpfiles.rules = ["))
    }

    /// Replaces the one occurrence of `from` in the host definition.
    pub(crate) fn edit_definition(&mut self, from: &str, to: &str) -> Result<()> {
        replace_once(&mut self.definition, from, to).context("cannot edit coldproof.toml")
    }
}

/// A value such as a service would generate.
pub(crate) fn token() -> Zeroizing<String> {
    Zeroizing::new(rand::rng().sample_iter(Alphanumeric).take(40).map(char::from).collect())
}

fn replace_once(text: &mut String, from: &str, to: &str) -> Result<()> {
    let found = text.matches(from).count();
    ensure!(found == 1, "`{from}` occurs {found} times, not once");
    *text = text.replace(from, to);
    Ok(())
}

fn flake_files() -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut directories = vec![&FLAKE];
    while let Some(directory) = directories.pop() {
        directories.extend(directory.dirs());
        for file in directory.files() {
            let path = file.path().to_str().context("a path in the flake is not UTF-8")?;
            let text = file.contents_utf8().with_context(|| format!("{path} is not UTF-8"))?;
            files.insert(path.to_owned(), text.to_owned());
        }
    }
    Ok(files)
}
