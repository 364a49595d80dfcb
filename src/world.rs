//! Reference worlds for runs that need one of their own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, bail};
use coldproof_machines::{lease::Lease, ledger::Ledger, paths::Paths};
use coldproof_testbed::{ram_dir, tools};
use tokio::process::Command;

/// A fresh reference world in a private directory that goes away with this value, or with this process however that ends.
pub(crate) struct ReferenceWorld {
    pub(crate) dir: PathBuf,
    _lease: Lease,
}

impl ReferenceWorld {
    /// `coldproof reference` writes it, as a process of the lease: git and sops end with it, and nothing writes any more
    /// where things are removed.
    pub(crate) async fn write(fault: Option<&str>) -> Result<Self> {
        tools::require("git")?;
        tools::sops()?;
        let mut lease = Lease::acquire(&Ledger::from(&Paths::from_env()), "reference", "reference-world")?;
        let dir = ram_dir::leased(&mut lease).context("making a private directory for the reference world")?;
        let mut command = Command::from(lease.command(Path::new("/proc/self/exe")));
        command.arg("reference").arg(&dir).args(fault.iter().flat_map(|name| ["--fault", name]));
        command.envs(env::vars_os()).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.context("starting `coldproof reference`")?;
        if !output.status.success() {
            bail!("writing the reference world: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self { dir, _lease: lease })
    }

    /// The host definition.
    pub(crate) fn definition(&self) -> PathBuf {
        self.dir.join("coldproof.toml")
    }
}
