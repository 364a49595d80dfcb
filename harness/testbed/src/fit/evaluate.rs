//! What the configuration says, evaluated by the controller's own Nix.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Duration};

use coldproof_machines::mark::Mark;
use serde::Deserialize;
use tokio::{process::Command, time::timeout};

use crate::{host::Host, tools};

/// From a host's `config` to [`Facts`]. It must do without nixpkgs' library, as a flake need not have that.
const FACTS: &str = include_str!("facts.nix");
/// Evaluating a NixOS host takes seconds to a minute; fetching its inputs may take longer.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// What a configuration says about the machine that it is for. What it has no option for is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Facts {
    /// The device of each file system, by its mount point.
    pub(super) file_systems: BTreeMap<String, Option<String>>,
    /// Whether GRUB is the boot loader.
    pub(super) grub: Option<bool>,
    /// Where GRUB is put; `nodev` is no disk.
    pub(super) grub_devices: Vec<String>,
    /// Whether GRUB is put where UEFI finds it.
    pub(super) grub_efi: Option<bool>,
    /// Whether systemd-boot is the boot loader.
    pub(super) systemd_boot: Option<bool>,
    /// The kernel modules that the initial RAM disk can load.
    pub(super) initrd_modules: Option<Vec<String>>,
    /// Whether the QEMU guest agent runs.
    pub(super) guest_agent: Option<bool>,
    /// Whether sshd runs.
    pub(super) ssh: Option<bool>,
    /// Whether sshd lets root in: `PermitRootLogin`.
    pub(super) root_login: Option<String>,
}

/// What is evaluated, and where.
pub(crate) struct Evaluation<'a> {
    /// A recursive clone of the host's repository.
    pub(crate) clone: &'a Path,
    pub(crate) host: &'a Host,
    /// A private directory, which goes away with the run. Nix copies what it evaluates into a store, and a store is
    /// for everybody to read, so it gets one of its own in there.
    pub(crate) private: &'a Path,
    pub(crate) mark: Mark,
}

impl Evaluation<'_> {
    /// Evaluates the configuration.
    ///
    /// # Errors
    /// Why it could not be evaluated here. It says nothing about the host.
    pub(super) async fn facts(&self) -> Result<Facts, String> {
        let Some(nix) = tools::find("nix") else {
            return Err("`nix` is not installed here (Debian package nix-bin)".to_owned());
        };
        let mut command = Command::new(nix);
        command
            .args(["--extra-experimental-features", "nix-command flakes", "--store"])
            .arg(self.private.join("store"))
            // Nothing is built here: the user's code runs in the guest.
            .args(["--option", "allow-import-from-derivation", "false", "--option", "build-users-group", ""])
            .args(["eval", "--json", "--no-write-lock-file", &self.flake(), "--apply", FACTS])
            .envs(["CACHE", "DATA", "STATE"].map(|kind| (format!("XDG_{kind}_HOME"), self.private.join("nix"))))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        self.mark.put_on(command.as_std_mut());
        let output = match timeout(LIMIT, command.output()).await {
            Ok(output) => output.map_err(|error| format!("`nix eval` could not be run: {error}"))?,
            Err(_) => return Err(format!("`nix eval` took longer than {} minutes", LIMIT.as_secs() / 60)),
        };
        if !output.status.success() {
            return Err(format!("`nix eval` failed: {}", complaint(&String::from_utf8_lossy(&output.stderr))));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("the answer of `nix eval`: {error}"))
    }

    fn flake(&self) -> String {
        let directory = self.host.flake.as_str().trim_matches('/');
        let directory = if matches!(directory, "" | ".") { String::new() } else { format!("?dir={directory}") };
        format!("path:{}{directory}#nixosConfigurations.\"{}\".config", self.clone.display(), self.host.attribute)
    }
}

/// The first error of Nix's in one line; where it comes from follows on many more.
fn complaint(stderr: &str) -> String {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find(|line| line.starts_with("error:"));
    error.or_else(|| lines.next_back()).unwrap_or("without a word").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_its_first_error() {
        let stderr = "warning: a\n\nerror: attribute 'x' missing\n\n       at /nix/store/x:1:1:\n";
        assert_eq!(complaint(stderr), "error: attribute 'x' missing");
        assert_eq!(complaint("killed\n"), "killed");
        assert_eq!(complaint(""), "without a word");
    }
}
