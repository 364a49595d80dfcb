//! Programs of the guest.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

/// Where Debian and NixOS keep their programs, for when PATH does not say.
const DIRECTORIES: &str = "/run/current-system/sw/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Standard output of a program that must succeed.
pub(crate) fn output(name: &str, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let program = find(name)?;
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C");
    let output = command.output().with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("`{name} {}` failed ({}): {}", arguments.join(" "), output.status, words.trim());
    }
    Ok(output.stdout)
}

/// Where the program is.
pub(crate) fn find(name: &str) -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(env::split_paths(DIRECTORIES));
    directories
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("`{name}` is neither on PATH nor in {DIRECTORIES}; install it in the guest"))
}
