//! What a proof says and seals holds no secret, however much it is asked to say.
//!
//! The harness looks through its own side, too; here it is looked at from outside, with values that it never named.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use coldproof_leaks::{Matcher, Secret};
use coldproof_testbed::tools;
use zeroize::Zeroizing;

use crate::engine::Engine;

/// The certificate is no secret; what else the reference host's sops file holds is.
const PUBLIC: &str = "wildcard_cert";

pub(crate) fn own_output(engine: &Engine) -> Result<()> {
    let world = engine.path("world");
    finished(&engine.coldproof(&["reference", "world"]).output()?)?;
    let mut secrets = keys(&world.join("keys"))?;
    secrets.extend(decrypted(&world)?);
    let matcher = Matcher::new(&secrets)?;
    let control = finds(&matcher, &fs::read(world.join("keys/recovery.txt"))?);
    ensure!(control.is_some(), "a key is not found where it is, so nothing would be");

    let proof =
        ["-vvv", "prove", "--host", "world/coldproof.toml", "--provider", "docker", "--json", "--out", "bundle"];
    let output = engine.coldproof(&proof).env("RUST_LOG", "trace").output()?;
    finished(&output)?;
    let mut looked_at = 0;
    let mut look = |place: &str, bytes: &[u8]| {
        looked_at += bytes.len();
        let found = finds(&matcher, bytes);
        ensure!(found.is_none(), "{place} holds {}", found.unwrap_or_default());
        Ok(())
    };
    look("standard output", &output.stdout)?;
    look("standard error", &output.stderr)?;
    for file in files(&engine.path("bundle"))? {
        look(&file.display().to_string(), &fs::read(&file)?)?;
    }
    ensure!(looked_at > 100_000, "no more than {looked_at} bytes were said and sealed");
    Ok(())
}

/// Which secret, and in which form.
pub(crate) fn finds(matcher: &Matcher, bytes: &[u8]) -> Option<String> {
    let mut scanner = matcher.scanner();
    scanner.push(bytes);
    let hits = scanner.finish();
    hits.first().map(|hit| format!("secret {:?} as {} at {}", hit.secrets, hit.form(), hit.offset))
}

/// The private keys of a world.
pub(crate) fn keys(directory: &Path) -> Result<Vec<Secret>> {
    let private = files(directory)?.into_iter().filter(|file| file.extension().is_none_or(|end| end != "pub"));
    let key = |file: PathBuf| {
        let text = Zeroizing::new(fs::read_to_string(&file)?);
        // age-keygen writes the public half into a comment.
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        Ok(secret(file.display().to_string(), lines.join("\n").into()))
    };
    private.map(key).collect()
}

/// The values of a world's sops file.
pub(crate) fn decrypted(world: &Path) -> Result<Vec<Secret>> {
    let file = world.join("secrets.yaml");
    let git = ["--git-dir", "secrets.git", "show", "HEAD:secrets.yaml"];
    fs::write(&file, finished(&Command::new("git").args(git).current_dir(world).output()?)?)?;
    let mut sops = Command::new(tools::sops()?);
    sops.args(["decrypt", "--output-type", "json"])
        .arg(&file)
        .env("SOPS_AGE_KEY_FILE", world.join("keys/recovery.txt"));
    let json = Zeroizing::new(finished(&sops.output()?)?);
    let values: BTreeMap<String, Zeroizing<String>> = serde_json::from_slice(&json)?;
    Ok(values.into_iter().filter(|(name, _)| name != PUBLIC).map(|(name, value)| secret(name, value)).collect())
}

fn secret(name: String, value: Zeroizing<String>) -> Secret {
    Secret { name, value, ..Secret::default() }
}

pub(crate) fn finished(output: &Output) -> Result<Vec<u8>> {
    ensure!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout.clone())
}

/// Every file below a directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(self::files(&entry.path())?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}
