//! Disks: overlays over what is only read.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::provider::ProvisionError;

const PROGRAM: &str = "/usr/bin/qemu-img";

/// Creates the overlay (qcow2) `overlay` of `size` bytes over `base`, given with its format.
pub(super) async fn create_overlay(base: (&Path, &str), overlay: &Path, size: u64) -> Result<(), ProvisionError> {
    let (path, format) = base;
    let output = Command::new(PROGRAM)
        .args(["create", "-q", "-f", "qcow2", "-F", format, "-b"])
        .arg(path)
        .arg(overlay)
        .arg(size.to_string())
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(ProvisionError::io(PROGRAM))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ProvisionError::Start { reason: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}
