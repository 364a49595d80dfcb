//! A world in a directory of its own, and what to look at it with.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bech32::{Bech32, Hrp};
use coldproof_reference::{
    Fault, faults,
    world::{self, World, WorldOptions},
};
use sha2::{Digest, Sha512};
use tempfile::TempDir;

/// Where `coldproof doctor --fix` puts the tools that Debian does not have.
const TOOLS: &str = "/var/cache/coldproof/tools";

/// The sops on PATH, or the one that coldproof has fetched.
pub(crate) fn sops() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from(TOOLS)])
        .map(|directory| directory.join("sops"))
        .find(|candidate| candidate.is_file())
        .expect("these tests need sops: put it on PATH, or run `coldproof doctor --fix`")
}

/// A world that is removed with the test.
pub(crate) struct Written {
    pub(crate) world: World,
    scratch: TempDir,
}

impl Written {
    pub(crate) fn sound() -> Self {
        Self::with(None, false, false)
    }

    /// One whose host decrypts with its own SSH key.
    pub(crate) fn by_host_key() -> Self {
        Self::with(None, true, false)
    }

    /// One whose host runs a stack on a swarm of its own.
    pub(crate) fn with_swarm() -> Self {
        Self::with(None, false, true)
    }

    pub(crate) fn with_fault(name: &str) -> Self {
        Self::with(Some(faults().iter().find(|fault| fault.name == name).expect("a fault of this name")), false, false)
    }

    fn with(fault: Option<&Fault>, by_host_key: bool, swarm: bool) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let options = WorldOptions { sops: &sops(), fault, by_host_key, swarm };
        let world = world::write(&scratch.path().join("world"), &options).expect("the world is written");
        Self { world, scratch }
    }

    pub(crate) fn definition(&self) -> toml::Table {
        fs::read_to_string(self.world.definition()).unwrap().parse().expect("coldproof.toml is TOML")
    }

    /// Clones as coldproof.toml tells a person to.
    pub(crate) fn clone_recursively(&self) -> PathBuf {
        let work = self.scratch.path().join("work");
        if !work.exists() {
            let (base, target) = (self.world.base(), work.clone());
            let arguments = ["-c", "protocol.file.allow=always", "clone", "--quiet", "--recurse-submodules"];
            let arguments = arguments.into_iter().chain([base.to_str().unwrap(), target.to_str().unwrap()]);
            self.git(self.scratch.path(), &arguments.collect::<Vec<_>>());
        }
        work
    }

    pub(crate) fn secrets_file(&self) -> PathBuf {
        self.clone_recursively().join("secrets/secrets.yaml")
    }

    pub(crate) fn recovery_key_file(&self) -> PathBuf {
        self.world.dir.join("keys/recovery.txt")
    }

    /// The SSH host key as the age identity that ssh-to-age makes of it, because sops cannot use it as it is.
    pub(crate) fn host_key_as_age(&self) -> PathBuf {
        let file = self.world.dir.join("keys/ssh_host_ed25519_key");
        let key = ssh_key::PrivateKey::read_openssh_file(&file).expect("OpenSSH's own format");
        let seed = key.key_data().ed25519().expect("an ed25519 key").private.to_bytes();
        let hash = Sha512::digest(seed);
        // Clamping is left to X25519 itself, which does it again.
        let identity = bech32::encode::<Bech32>(Hrp::parse_unchecked("age-secret-key-"), &hash[..32]).unwrap();
        self.scratch("host-key-as-age.txt", &identity.to_uppercase())
    }

    pub(crate) fn scratch(&self, name: &str, text: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn git(&self, dir: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

/// What sops decrypts `file` to with the identity in `key` alone; otherwise what it says.
pub(crate) fn decrypt_with(key: &Path, file: &Path) -> Result<BTreeMap<String, String>, String> {
    let output = Command::new(sops())
        .args(["decrypt", "--output-type", "json"])
        .arg(file)
        .env("SOPS_AGE_KEY_FILE", key)
        .env("SOPS_DISABLE_VERSION_CHECK", "1")
        .env("HOME", "/nonexistent")
        .output()
        .expect("sops runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).expect("a flat map of strings"))
}

pub(crate) fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().expect("openssl runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
