//! The QEMU provider.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, path::Path, process::Stdio, time::Duration};

use async_trait::async_trait;
use tokio::process::Command;

use super::{
    command_line::Memory,
    console::Shell,
    disk::check_space,
    kvm::{self, Choice},
    machine::{Launch, QemuMachine},
    network::is_public,
    process::{Files, PROGRAM},
    stage::{self, Stage, become_another},
};
use crate::{
    deadline::Deadline,
    guest::{Guest, GuestCommand},
    launch::Unprivileged,
    lease::Lease,
    provider::{BootImage, Capabilities, Machine, MachineImage, MachineSpec, Origin, Provider, ProvisionError, Start},
};

/// Private maps of a read-only RAM file (`rom=off`) came with this version.
const OLDEST_VERSION_THAT_FORKS: (u32, u32) = (8, 2);

/// How long the machine that becomes a stage may take to boot.
const TEMPLATE_BOOT_LIMIT: Duration = Duration::from_secs(300);
/// How long one command that warms it up may take.
const WARM_UP_LIMIT: Duration = Duration::from_secs(60);
/// How long a fork may take for its first command. A fork that needs longer does not work.
const FIRST_COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Makes machines with the QEMU of this computer.
#[derive(Debug, Clone)]
pub struct QemuProvider {
    choice: Choice,
    version: String,
    warm_up: Vec<GuestCommand>,
}

impl QemuProvider {
    /// Looks at what this computer has, and lets a probe guest run if it has KVM.
    ///
    /// # Errors
    /// [`ProvisionError::Unmet`] when QEMU is missing.
    pub async fn detect() -> Result<Self, ProvisionError> {
        let version = version().await.map_err(|error| ProvisionError::Unmet {
            problem: format!("{PROGRAM} does not run ({error})"),
            remedy: "`coldproof doctor --fix` installs it".to_owned(),
        })?;
        Ok(Self { choice: kvm::choose().await, version, warm_up: Vec::new() })
    }

    /// Runs `commands` in the machine that becomes the stage `blank` before it is saved, so that
    /// its forks have in memory what they will need. Their outcome does not matter.
    #[must_use]
    pub fn with_warm_up(mut self, commands: Vec<GuestCommand>) -> Self {
        self.warm_up = commands;
        self
    }

    fn forks(&self) -> bool {
        parse_version(&self.version).is_some_and(|version| version >= OLDEST_VERSION_THAT_FORKS)
    }

    async fn boot(
        &self,
        spec: &MachineSpec,
        lease: Lease,
        fallback: Option<String>,
    ) -> Result<QemuMachine, ProvisionError> {
        let launch = Launch {
            choice: &self.choice,
            user: None,
            memory: Memory::Anonymous,
            base: base(&spec.image)?,
            disk: Files::of(lease.dir()).disk(),
            start: Start::Cold { fallback },
            shell: Shell::Booting,
        };
        QemuMachine::launch(spec, lease, launch).await
    }

    /// Boots a machine that becomes the stage `switched` in the new directory `dir`.
    async fn boot_into(&self, dir: &Path, spec: &MachineSpec, lease: Lease) -> Result<QemuMachine, ProvisionError> {
        let user = Unprivileged::named(&dir.to_string_lossy(), self.choice.group);
        let made = DirBuilder::new().mode(0o700).create(dir).and_then(|()| user.map_or(Ok(()), |user| user.own(dir)));
        made.map_err(ProvisionError::io(format!("making {}", dir.display())))?;
        let launch = Launch {
            choice: &self.choice,
            user,
            memory: Memory::Template(stage::ram(dir)),
            base: base(&spec.image)?,
            disk: stage::disk(dir),
            start: Start::Cold { fallback: None },
            shell: Shell::Booting,
        };
        QemuMachine::launch(spec, lease, launch).await
    }

    async fn stage(
        &self,
        spec: &MachineSpec,
        image: &BootImage,
        lease: &Lease,
        deadline: Deadline,
    ) -> Result<Stage, ProvisionError> {
        let stage = Stage::of(spec, image, &self.version, self.choice.acceleration.name(), &self.warm_up)
            .map_err(ProvisionError::io("reading the image"))?;
        if stage.exists() {
            stage.mark_used();
            return Ok(stage);
        }
        let _lock = stage.lock(deadline).await.map_err(ProvisionError::io("locking the stage"))?;
        // Another process may have built it while this one waited for the lock.
        if !stage.exists() {
            self.build(&stage, (spec, image), lease, deadline).await?;
        }
        Ok(stage)
    }

    /// Boots a template under a lease of its own, warms it up, and saves it.
    async fn build(
        &self,
        stage: &Stage,
        (spec, image): (&MachineSpec, &BootImage),
        lease: &Lease,
        deadline: Deadline,
    ) -> Result<(), ProvisionError> {
        let deadline = deadline.at_most(TEMPLATE_BOOT_LIMIT);
        let template = MachineSpec {
            name: format!("{}-template", spec.name),
            forwards: Vec::new(),
            guest_services: Vec::new(),
            ..spec.clone()
        };
        let mut lease = lease.successor().acquire(&template.name)?;
        let draft = stage.draft(lease.id());
        lease.add_directory(draft.clone())?;
        let launch = Launch {
            choice: &self.choice,
            user: None,
            memory: Memory::Template(stage::ram(&draft)),
            base: (&image.root, "raw"),
            disk: stage::disk(&draft),
            start: Start::Cold { fallback: None },
            shell: Shell::Booting,
        };
        let mut machine = QemuMachine::launch(&template, lease, launch).await?;
        let guest = machine.guest(deadline).await.map_err(unstarted)?;
        self.warm(&guest, deadline).await?;
        stage.save(machine.process(), &draft).await
    }

    async fn warm(&self, guest: &Guest, deadline: Deadline) -> Result<(), ProvisionError> {
        // What boots in the background is to be saved as finished, not half way.
        let settled = guest.settle(deadline).await.map_err(unstarted)?;
        tracing::debug!(?settled, "the template has booted");
        let flush = GuestCommand::new(["sync"]);
        for command in self.warm_up.iter().chain([&flush]) {
            let output = guest.run(command, deadline.at_most(WARM_UP_LIMIT)).await.map_err(unstarted)?;
            tracing::debug!(?command, status = output.status, "warmed up");
        }
        Ok(())
    }

    /// Forks the stage, which belongs to `user` or to everybody, and runs a first command, which tells it from the others.
    async fn fork(
        &self,
        spec: &MachineSpec,
        lease: Lease,
        (stage, user): (&Stage, Option<Unprivileged>),
        deadline: Deadline,
    ) -> Result<QemuMachine, ProvisionError> {
        let base = stage.disk();
        let launch = Launch {
            choice: &self.choice,
            user,
            memory: Memory::Fork(stage.ram()),
            base: (&base, "qcow2"),
            disk: Files::of(lease.dir()).disk(),
            start: Start::Fork { stage: stage.fingerprint().to_owned() },
            shell: Shell::Unknown,
        };
        let mut machine = QemuMachine::launch(spec, lease, launch).await?;
        tracing::debug!("QEMU answers");
        stage.restore(&mut machine.process().qmp).await?;
        tracing::debug!("the stage is restored");
        let deadline = deadline.at_most(FIRST_COMMAND_LIMIT);
        let guest = machine.guest(deadline).await.map_err(unstarted)?;
        let first = guest.run(&become_another().map_err(unstarted)?, deadline).await.map_err(unstarted)?;
        if first.success() {
            tracing::debug!("the fork has run its first command");
            return Ok(machine);
        }
        Err(ProvisionError::Start { reason: format!("setting clock and machine-id: {}", first.stderr_text().trim()) })
    }

    /// Forks the stage `blank`, which is built first if need be. What does not work is deleted,
    /// and the machine boots instead and says why.
    async fn fork_or_boot(
        &self,
        spec: &MachineSpec,
        image: &BootImage,
        lease: Lease,
        deadline: Deadline,
    ) -> Result<QemuMachine, ProvisionError> {
        let stage = match self.stage(spec, image, &lease, deadline).await {
            Ok(stage) => stage,
            // There is no time left to boot in, and this error has the console's last words.
            Err(error) if deadline.has_passed() => return Err(error),
            Err(error) => return self.boot(spec, lease, Some(format!("no stage to fork: {error}"))).await,
        };
        let successor = lease.successor();
        let error = match self.fork(spec, lease, (&stage, None), deadline).await {
            Ok(machine) => return Ok(machine),
            Err(error) if deadline.has_passed() => return Err(error),
            Err(error) => error,
        };
        tracing::warn!(%error, stage = stage.fingerprint(), "the stage does not restore; booting instead");
        if let Err(error) = stage.delete(deadline).await {
            tracing::warn!(%error, "deleting the stage");
        }
        self.boot(
            spec,
            successor.succeed(&spec.name)?,
            Some(format!("the stage did not restore and was deleted: {error}")),
        )
        .await
    }
}

fn unstarted(error: impl std::fmt::Display) -> ProvisionError {
    ProvisionError::Start { reason: error.to_string() }
}

#[async_trait]
impl Provider for QemuProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities { provider: "qemu".to_owned(), accelerator: self.choice.accelerator(), fork: self.forks() }
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        lease: Lease,
        deadline: Deadline,
    ) -> Result<Box<dyn Machine>, ProvisionError> {
        check_readable(spec)?;
        check_space(lease.dir())?;
        let machine = match (&spec.origin, &spec.image) {
            (Origin::Image, _) => self.boot(spec, lease, None).await?,
            (Origin::Saving(dir), _) => self.boot_into(dir, spec, lease).await?,
            (Origin::Saved(dir), _) => {
                let user = Unprivileged::named(&dir.to_string_lossy(), self.choice.group);
                self.fork(spec, lease, (&Stage::switched(dir), user), deadline).await?
            }
            (Origin::Blank, MachineImage::Built(image)) if self.forks() => {
                self.fork_or_boot(spec, image, lease, deadline).await?
            }
            (Origin::Blank, MachineImage::Built(_)) => {
                let why = format!("QEMU {} is older than 8.2, which forks need", self.version);
                self.boot(spec, lease, Some(why)).await?
            }
            (Origin::Blank, MachineImage::Disk(_) | MachineImage::Server(_)) => {
                let why = "a disk with a boot loader of its own is booted, not forked".to_owned();
                self.boot(spec, lease, Some(why)).await?
            }
        };
        Ok(Box::new(machine))
    }
}

/// What a machine's disk lies on, and its format.
fn base(image: &MachineImage) -> Result<(&Path, &'static str), ProvisionError> {
    Ok(match image {
        MachineImage::Disk(image) => (&image.file, "qcow2"),
        image => (&image.built()?.root, "raw"),
    })
}

/// QEMU runs as a user of its own when this process is root, so the image must be for everybody.
fn check_readable(spec: &MachineSpec) -> Result<(), ProvisionError> {
    for path in spec.image.files() {
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

async fn version() -> std::io::Result<String> {
    let output = Command::new(Path::new(PROGRAM)).arg("--version").stdin(Stdio::null()).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let first = text.lines().next().unwrap_or_default();
    Ok(first.trim_start_matches("QEMU emulator version ").to_owned())
}

/// Major and minor version of `10.0.2 (Debian …)`.
fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert_eq!(parse_version("10.0.2 (Debian 1:10.0.2+ds-2)"), Some((10, 0)));
        assert!(parse_version("7.2.22").unwrap() < OLDEST_VERSION_THAT_FORKS);
        assert!(parse_version("10.0").unwrap() >= OLDEST_VERSION_THAT_FORKS);
        assert_eq!(parse_version(""), None);
    }
}
