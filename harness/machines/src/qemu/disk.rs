//! Disks: overlays over what is only read.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::{mark::Mark, provider::ProvisionError};

/// What a machine may need: a host's closure, its journal and the packets it sent. QEMU stops a machine whose disk cannot
/// grow any more, and only its deadline would end that.
const NEEDED_MIB: u64 = 512;

const PROGRAM: &str = "/usr/bin/qemu-img";

/// Checks that there is room in `dir` for what a machine writes.
pub(super) fn check_space(dir: &Path) -> Result<(), ProvisionError> {
    let what = || format!("looking for room in {}", dir.display());
    let space = rustix::fs::statvfs(dir).map_err(|error| ProvisionError::io(what())(error.into()))?;
    let available_mib = (space.f_bavail * space.f_frsize) >> 20;
    if available_mib >= NEEDED_MIB {
        return Ok(());
    }
    Err(ProvisionError::Unmet {
        problem: format!("{} has {available_mib} MiB left and a machine needs {NEEDED_MIB} MiB", dir.display()),
        remedy: "free some, or set COLDPROOF_STATE to a directory on a larger disk".to_owned(),
    })
}

/// Creates the overlay (qcow2) `overlay` of `size` bytes over `base`, given with its format, for the lease with `mark`.
pub(super) async fn create_overlay(
    mark: &Mark,
    base: (&Path, &str),
    overlay: &Path,
    size: u64,
) -> Result<(), ProvisionError> {
    let (path, format) = base;
    let mut command = Command::new(PROGRAM);
    command
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .arg(path)
        .arg(overlay)
        .arg(size.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    mark.put_on(command.as_std_mut());
    let output = command.output().await.map_err(ProvisionError::io(PROGRAM))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ProvisionError::Start { reason: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
