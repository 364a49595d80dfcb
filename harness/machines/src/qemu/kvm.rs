//! Whether KVM runs guests here.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use super::{command_line::Acceleration, kvm_probe::USABLE};
use crate::{deadline::Deadline, helper, provider::Accelerator};

const DEVICE: &str = "/dev/kvm";

/// A probe guest needs milliseconds; one that hangs is killed.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// How processors are run here, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) acceleration: Acceleration,
    /// The group that may use KVM, when QEMU gives up root for it.
    pub(super) group: Option<u32>,
    pub(super) reason: String,
}

impl Choice {
    /// The choice as it is reported.
    pub(super) fn accelerator(&self) -> Accelerator {
        Accelerator { name: self.acceleration.name().to_owned(), reason: self.reason.clone() }
    }
}

/// Chooses KVM only if a probe guest ran. The probe is a process of its own, so that one that
/// hangs in the kernel or crashes does no harm.
pub(super) async fn choose() -> Choice {
    if !Path::new(DEVICE).exists() {
        return tcg(&format!("this computer has no {DEVICE}"));
    }
    match probe().await {
        Ok(line) if line == USABLE => with_access(fs::metadata(DEVICE)),
        Ok(line) => tcg(&line),
        Err(error) => tcg(&format!("the probe of {DEVICE} failed: {error}")),
    }
}

fn tcg(why: &str) -> Choice {
    Choice { acceleration: Acceleration::Tcg, group: None, reason: format!("kvm: {why}; using TCG") }
}

async fn probe() -> io::Result<String> {
    let child = Command::new(helper::program())
        .arg(helper::KVM_PROBE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let output = Deadline::after(PROBE_LIMIT)
        .bound(child.wait_with_output())
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "a probe guest did not end"))??;
    let line = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !output.status.success() || line.is_empty() {
        return Err(io::Error::other(format!("the probe ended with {}", output.status)));
    }
    Ok(line)
}

/// KVM runs guests; whether QEMU may use it is another matter once it is no longer root.
fn with_access(device: io::Result<fs::Metadata>) -> Choice {
    let kvm = |group| Choice { acceleration: Acceleration::Kvm, group, reason: "kvm: a probe guest ran".to_owned() };
    let device = match device {
        Ok(device) => device,
        Err(error) => return tcg(&error.to_string()),
    };
    let mode = device.permissions().mode();
    if !rustix::process::geteuid().is_root() || mode & 0o006 == 0o006 {
        return kvm(None);
    }
    if mode & 0o060 == 0o060 && device.gid() != 0 {
        return kvm(Some(device.gid()));
    }
    tcg(&format!("{DEVICE} is root's alone and QEMU runs unprivileged (`chgrp kvm {DEVICE}; chmod 0660 {DEVICE}`)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_for_root_alone_is_not_used_by_an_unprivileged_qemu() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let private = with_access(fs::metadata(file.path()));
        let as_root = rustix::process::geteuid().is_root();
        assert_eq!(private.acceleration == Acceleration::Tcg, as_root, "{private:?}");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(with_access(fs::metadata(file.path())).acceleration, Acceleration::Kvm);
    }
}
