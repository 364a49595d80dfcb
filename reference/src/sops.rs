//! Encrypting with the real sops, so that a world's files are what an operator's would be.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, Result};
use zeroize::Zeroizing;

use crate::git::run;

/// Secrets by their key in the sops file.
pub(crate) type Secrets = BTreeMap<String, Zeroizing<String>>;

/// Encrypts `secrets` as the YAML file `secrets.yaml` under the creation rules of a `.sops.yaml`.
/// The plaintext goes to sops by stdin and is never on a disk; what sops needs besides is in a directory in `within`.
pub(crate) fn encrypt(sops: &Path, within: &Path, creation_rules: &str, secrets: &Secrets) -> Result<String> {
    let dir = tempfile::tempdir_in(within)?;
    std::fs::write(dir.path().join(".sops.yaml"), creation_rules)?;
    let mut command = Command::new(sops);
    command
        .args(["encrypt", "--input-type", "json", "--output-type", "yaml", "--filename-override", "secrets.yaml"])
        .current_dir(dir.path())
        .env("SOPS_DISABLE_VERSION_CHECK", "1")
        .env("HOME", "/nonexistent");
    let plain: BTreeMap<&str, &str> = secrets.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let plain = Zeroizing::new(serde_json::to_vec(&plain)?);
    run(command, &plain).with_context(|| format!("cannot encrypt the reference secrets with {}", sops.display()))
}
