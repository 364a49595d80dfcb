//! A QEMU machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    future::pending,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use serde_json::json;

use super::{
    command_line::{CommandLine, Memory},
    console::Shell,
    control::{self, Control, Lack, Opening},
    disk::create_overlay,
    hardware::{OVMF_CODE, OVMF_VARIABLES},
    kvm::Choice,
    network::{Services, forward},
    process::{Files, Process, tail},
    stage::save_into,
    watched::Watched,
};
use crate::{
    deadline::Deadline,
    disk_image::Firmware,
    guest::{Guest, GuestCommand, TransportError},
    launch::{Standing, Unprivileged},
    lease::Lease,
    provider::{
        Accelerator, BootError, DestroyError, Machine, MachineEvidence, MachineImage, MachineSize, MachineSpec,
        ProvisionError, Start,
    },
    receipt::Destroyed,
};

/// How many lines of the serial console an error shows.
const CONSOLE_LINES: usize = 40;

/// A machine that runs, or has ended and can start again from its disk.
#[derive(Debug)]
pub(super) struct QemuMachine {
    // Fields are dropped in order: services close, QEMU loses its handle, the lease undoes.
    services: Services,
    process: Process,
    control: Control,
    endpoints: BTreeMap<u16, SocketAddr>,
    command_line: CommandLine,
    accelerator: Accelerator,
    start: Start,
    starts: u32,
    standing: Standing,
    files: Files,
    lease: Lease,
}

/// What a machine is started with.
pub(super) struct Launch<'a> {
    pub(super) choice: &'a Choice,
    /// As whom it runs, if not as a user of its own.
    pub(super) user: Option<Unprivileged>,
    pub(super) memory: Memory,
    /// The disk under the overlay, and its format.
    pub(super) base: (&'a Path, &'a str),
    /// The overlay.
    pub(super) disk: PathBuf,
    pub(super) start: Start,
    pub(super) shell: Shell,
}

impl QemuMachine {
    /// Starts QEMU. A guest that boots is not awaited.
    pub(super) async fn launch(spec: &MachineSpec, lease: Lease, launch: Launch<'_>) -> Result<Self, ProvisionError> {
        let files = Files::of(lease.dir());
        let user = launch.user.or_else(|| Unprivileged::named(lease.id(), launch.choice.group));
        create_overlay(&lease.mark(), launch.base, &launch.disk, spec.disk).await?;
        if let Some(user) = user {
            let directories = lease.directories().iter().map(PathBuf::as_path);
            for path in directories.chain([launch.disk.as_path()]) {
                user.own(path).map_err(ProvisionError::io(format!("handing {} to QEMU's user", path.display())))?;
            }
        }
        prepare_firmware(&spec.image, &files, user)?;
        let services = Services::open(&spec.guest_services, &files, user)?;
        let command_line = CommandLine {
            acceleration: launch.choice.acceleration,
            memory_size: spec.memory,
            memory: launch.memory,
            cpus: spec.cpus,
            image: spec.image.clone(),
            disk: launch.disk,
            console_log: files.console_log(0),
            packet_capture: files.packet_capture(0),
            firmware_variables: files.firmware_variables(),
            relays: services.relays.clone(),
        };
        tracing::debug!(lease = lease.id(), "starting QEMU");
        let standing = Standing { user, priority: spec.priority };
        let mut process = Process::start(&lease, standing, &command_line).await?;
        let ports: BTreeSet<u16> = spec.forwards.iter().copied().chain(control::port(&spec.image)).collect();
        let endpoints = forward(&mut process, &Vec::from_iter(ports)).await?;
        let control = Control::connect(&spec.image, &files, launch.shell, &endpoints, &lease.mark()).await?;
        Ok(Self {
            services,
            process,
            control,
            endpoints,
            command_line,
            accelerator: launch.choice.accelerator(),
            start: launch.start,
            starts: 0,
            standing,
            files,
            lease,
        })
    }

    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn boot_error(&self, source: TransportError) -> BootError {
        let mut log = tail(&self.command_line.console_log, CONSOLE_LINES);
        if log.is_empty() {
            "(it is empty)".clone_into(&mut log);
        }
        let name = self.lease.machine().to_owned();
        match source {
            TransportError::Deadline { command } => match self.control.lack(&command) {
                Some(Lack { missing, remedy }) => BootError::Uncontrolled { name, missing, remedy, console: log },
                None => BootError::Deadline { name, console: log },
            },
            source => BootError::Transport { source: self.explain(source), console: log },
        }
    }

    fn watched(&self) -> Watched {
        let directory = self.command_line.disk.parent().unwrap_or(Path::new("/")).to_owned();
        Watched { transport: self.control.transport(), stopped: self.process.qmp.stopped(), directory }
    }

    /// Adds what QEMU said before it ended.
    fn explain(&self, error: TransportError) -> TransportError {
        match error {
            TransportError::Lost { reason } => {
                TransportError::Lost { reason: format!("{reason}; QEMU said: {}", self.files.error_tail()) }
            }
            other => other,
        }
    }

    /// Starts QEMU again on the same disk. The process has ended.
    async fn start_again(&mut self, size: Option<MachineSize>, deadline: Deadline) -> Result<Guest, BootError> {
        self.starts += 1;
        if let Some(size) = size {
            self.command_line.memory_size = size.memory;
            self.command_line.cpus = size.cpus;
        }
        // What was forked is gone with its memory; the disk is all there is to start from.
        self.command_line.memory = Memory::Anonymous;
        self.command_line.console_log = self.files.console_log(self.starts);
        self.command_line.packet_capture = self.files.packet_capture(self.starts);
        let ports: Vec<u16> = self.endpoints.keys().copied().collect();
        self.process = Process::start(&self.lease, self.standing, &self.command_line).await?;
        self.endpoints = forward(&mut self.process, &ports).await?;
        let (image, mark) = (&self.command_line.image, self.lease.mark());
        self.control = Control::connect(image, &self.files, Shell::Booting, &self.endpoints, &mark).await?;
        self.guest(deadline).await
    }

    /// Lets a boot begin anew that the emulation held up: the guest did nothing yet but boot, and none of that is its doing.
    async fn reset(&mut self, what: &str) -> Result<(), BootError> {
        let note = format!("QEMU lost an interrupt while the guest booted ({what}); the machine was reset");
        tracing::warn!(machine = self.lease.machine(), "{note}");
        self.files.note(&note).map_err(ProvisionError::io("writing QEMU's log"))?;
        self.control.expect_boot().await;
        let reset = self.process.qmp.execute("system_reset", json!({})).await;
        reset.map(drop).map_err(|error| ProvisionError::Start { reason: error.to_string() }.into())
    }

    fn move_evidence(&self, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to)?;
        let mut files = vec![self.files.errors()];
        for start in 0..=self.starts {
            files.extend([self.files.console_log(start), self.files.packet_capture(start)]);
        }
        for file in files {
            if let (Some(name), true) = (file.file_name(), file.exists()) {
                // A copy, as the directories may be on different file systems.
                fs::copy(&file, to.join(name))?;
            }
        }
        Ok(())
    }
}

/// Gives the machine the variables that UEFI writes to, where the image wants UEFI.
fn prepare_firmware(image: &MachineImage, files: &Files, user: Option<Unprivileged>) -> Result<(), ProvisionError> {
    if !matches!(image, MachineImage::Disk(disk) if disk.firmware == Firmware::Uefi) {
        return Ok(());
    }
    if !Path::new(OVMF_CODE).exists() {
        return Err(ProvisionError::Unmet {
            problem: format!("{OVMF_CODE}, which boots an image with `firmware = \"uefi\"`, does not exist"),
            remedy: "install the package ovmf".to_owned(),
        });
    }
    let variables = files.firmware_variables();
    fs::copy(OVMF_VARIABLES, &variables)
        .and_then(|_| user.map_or(Ok(()), |user| user.own(&variables)))
        .map_err(ProvisionError::io(format!("copying {OVMF_VARIABLES}")))
}

#[async_trait]
impl Machine for QemuMachine {
    fn name(&self) -> &str {
        self.lease.machine()
    }

    async fn guest(&mut self, deadline: Deadline) -> Result<Guest, BootError> {
        let watched = self.watched();
        let cpus = self.command_line.cpus;
        loop {
            let ready = watched.unless_stopped(self.control.ready(&mut self.process, cpus, deadline)).await;
            match ready.map_err(|error| self.boot_error(error))? {
                Opening::Open => return Ok(Guest::new(Arc::new(watched))),
                Opening::Stuck(what) => self.reset(&what).await?,
            }
        }
    }

    fn endpoint(&self, guest_port: u16) -> Option<SocketAddr> {
        self.endpoints.get(&guest_port).copied()
    }

    fn evidence(&self) -> MachineEvidence {
        MachineEvidence {
            console_log: self.command_line.console_log.clone(),
            packet_capture: Some(self.command_line.packet_capture.clone()),
            accelerator: self.accelerator.clone(),
            start: self.start.clone(),
            process: self.process.id(),
            argv: self.process.argv.clone(),
        }
    }

    async fn save(&mut self) -> Result<(), ProvisionError> {
        let dir = match (&self.command_line.memory, self.command_line.disk.parent()) {
            (Memory::Template(_), Some(dir)) => dir.to_owned(),
            _ => {
                return Err(ProvisionError::Unmet {
                    problem: format!("{} was not made to be saved", self.name()),
                    remedy: "make it with `Origin::Saving`".to_owned(),
                });
            }
        };
        save_into(&dir, &mut self.process).await
    }

    async fn reboot(&mut self, deadline: Deadline) -> Result<Guest, BootError> {
        let guest = self.guest(deadline).await?;
        self.process.qmp.clear_events();
        // The way to the guest may go before it answers, which is what was asked for.
        let asking = async {
            match guest.run(&GuestCommand::new(["systemctl", "reboot"]), deadline).await {
                Ok(_) | Err(TransportError::ShellRestarted { .. } | TransportError::Lost { .. }) => pending().await,
                Err(error) => error,
            }
        };
        let reset = tokio::select! {
            biased;
            reset = deadline.bound(self.process.qmp.event(|name, _| name == "RESET")) => match reset {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(TransportError::Lost { reason: error.to_string() }),
                Err(_) => Err(TransportError::Deadline { command: "reboot".to_owned() }),
            },
            error = asking => Err(error),
        };
        reset.map_err(|error| self.boot_error(error))?;
        self.control.expect_boot().await;
        self.guest(deadline).await
    }

    async fn kill_and_restart(&mut self, size: Option<MachineSize>, deadline: Deadline) -> Result<Guest, BootError> {
        self.process.kill().await.map_err(ProvisionError::io("killing QEMU"))?;
        self.start_again(size, deadline).await
    }

    async fn resize(&mut self, size: MachineSize, deadline: Deadline) -> Result<Guest, BootError> {
        let guest = self.guest(deadline).await?;
        let asking = async {
            match guest.run(&GuestCommand::new(["systemctl", "poweroff"]), deadline).await {
                Ok(_) | Err(TransportError::ShellRestarted { .. } | TransportError::Lost { .. }) => pending().await,
                Err(error) => error,
            }
        };
        let ended = tokio::select! {
            biased;
            ended = deadline.bound(self.process.wait()) => match ended {
                Ok(ended) => Ok(ended.map_err(ProvisionError::io("waiting for QEMU to end"))?),
                Err(_) => Err(TransportError::Deadline { command: "poweroff".to_owned() }),
            },
            error = asking => Err(error),
        };
        ended.map_err(|error| self.boot_error(error))?;
        self.start_again(Some(size), deadline).await
    }

    async fn destroy(mut self: Box<Self>, evidence: Option<&Path>) -> Result<Destroyed, DestroyError> {
        if let Err(error) = self.process.kill().await {
            tracing::debug!(%error, "killing QEMU");
        }
        // After the kill, as QEMU buffers what it captures. The lease is released in any case.
        let moved = evidence.map_or(Ok(()), |to| {
            self.move_evidence(to).map_err(|source| DestroyError::Evidence { path: PathBuf::from(to), source })
        });
        let Self { services, lease, .. } = *self;
        drop(services);
        let receipt = tokio::task::spawn_blocking(|| lease.release()).await;
        moved?;
        receipt.map_err(|error| DestroyError::Interrupted(error.to_string()))
    }

    async fn keep(self: Box<Self>) -> Result<String, DestroyError> {
        let Self { lease, .. } = *self;
        Ok(lease.keep()?)
    }
}
