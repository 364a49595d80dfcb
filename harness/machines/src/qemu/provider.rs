//! The QEMU provider.

use std::path::Path;

use async_trait::async_trait;

use super::{
    command_line::{Acceleration, Memory},
    console::Shell,
    machine::{Launch, QemuMachine},
    network::is_public,
    process::PROGRAM,
};
use crate::{
    lease::Lease,
    provider::{Accelerator, Capabilities, Machine, MachineSpec, Provider, ProvisionError, Start},
};

/// Makes machines with the QEMU of this computer.
#[derive(Debug, Clone)]
pub struct QemuProvider {
    acceleration: Acceleration,
    reason: String,
}

impl QemuProvider {
    /// Looks at what this computer has.
    ///
    /// # Errors
    /// [`ProvisionError::Unmet`] when QEMU is missing.
    pub async fn detect() -> Result<Self, ProvisionError> {
        if !Path::new(PROGRAM).exists() {
            return Err(ProvisionError::Unmet {
                problem: format!("{PROGRAM} is not installed"),
                remedy: "install qemu-system-x86 and qemu-utils, version 8.2 or later".to_owned(),
            });
        }
        Ok(Self { acceleration: Acceleration::Tcg, reason: "kvm: not probed".to_owned() })
    }

    fn accelerator(&self) -> Accelerator {
        Accelerator { name: self.acceleration.name().to_owned(), reason: self.reason.clone() }
    }
}

#[async_trait]
impl Provider for QemuProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            provider: "qemu".to_owned(),
            accelerator: self.accelerator(),
            fork: true,
            resize: true,
            capture: true,
        }
    }

    async fn create(&self, spec: &MachineSpec, lease: Lease) -> Result<Box<dyn Machine>, ProvisionError> {
        check_readable(spec)?;
        let launch = Launch {
            acceleration: self.acceleration,
            accelerator: self.accelerator(),
            memory: Memory::Anonymous,
            base: (&spec.image.root, "raw"),
            start: Start::Cold { fallback: None },
            shell: Shell::Booting,
        };
        Ok(Box::new(QemuMachine::launch(spec, lease, launch).await?))
    }
}

/// QEMU runs as a user of its own when this process is root, so the image must be for everybody.
fn check_readable(spec: &MachineSpec) -> Result<(), ProvisionError> {
    let image = &spec.image;
    for path in [&image.root, &image.kernel, &image.initrd] {
        if !path.exists() {
            return Err(ProvisionError::Unmet {
                problem: format!("{} does not exist", path.display()),
                remedy: "build the image first".to_owned(),
            });
        }
        if rustix::process::geteuid().is_root() && !is_public(path, 0o004) {
            return Err(ProvisionError::Unmet {
                problem: format!("{} is not readable by QEMU's unprivileged user", path.display()),
                remedy: "give others read permission on the file, and execute permission on the directories above it"
                    .to_owned(),
            });
        }
    }
    Ok(())
}
