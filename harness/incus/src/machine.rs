//! An instance as a machine.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use coldproof_container::{Network, NetworkError};
use coldproof_machines::{
    budget::Admission,
    deadline::Deadline,
    guest::{Guest, GuestCommand, TransportError},
    lease::Lease,
    provider::{
        Accelerator, BootError, DestroyError, GuestService, Machine, MachineEvidence, MachineSize, MachineSpec,
        ProvisionError, Start,
    },
    receipt::Destroyed,
};

use crate::{error::IncusError, instance::InstanceType, program::Commands, provider::lock_starts};

/// How often the server is asked whether a virtual machine's agent is up. Incus 6.0 announces nothing of it.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// How long reading the console may take when the machine is destroyed.
const CONSOLE: Duration = Duration::from_secs(20);

/// An instance that runs, or is stopped and can start again from its disk.
pub(crate) struct IncusMachine {
    // Fields are dropped in order: the network closes, then the lease removes the instance.
    network: Option<Network>,
    commands: Commands,
    services: Vec<GuestService>,
    forwards: Vec<u16>,
    accelerator: Accelerator,
    starts: u32,
    /// Of its limit, in bytes.
    memory: u64,
    /// The most that running instances may take together, in bytes.
    budget: Option<u64>,
    admission: Admission,
    lease: Lease,
}

impl IncusMachine {
    pub(crate) fn new(
        commands: Commands,
        spec: &MachineSpec,
        lease: Lease,
        accelerator: Accelerator,
        budget: Option<u64>,
        admission: Admission,
    ) -> Self {
        Self {
            network: None,
            commands,
            services: spec.guest_services.clone(),
            forwards: spec.forwards.clone(),
            accelerator,
            starts: 0,
            memory: spec.memory,
            budget,
            admission,
            lease,
        }
    }

    /// The capture that belongs to the current start.
    fn packet_capture(&self) -> PathBuf {
        let number = if self.starts == 0 { String::new() } else { format!("-{}", self.starts) };
        self.lease.dir().join(format!("capture{number}.pcap"))
    }

    fn console_log(&self) -> PathBuf {
        self.lease.dir().join("console.log")
    }

    /// Asks the guest to end in good order, and waits until it has.
    async fn shut_down(&mut self, deadline: Deadline) -> Result<(), BootError> {
        let guest = self.guest(deadline).await?;
        match guest.run(&GuestCommand::new(["systemctl", "--no-block", "poweroff"]), deadline).await {
            // The program may be killed before it can answer, which is what was asked for.
            Ok(_) | Err(TransportError::Lost { .. }) => {}
            Err(error) => return Err(self.boot_error(error).await),
        }
        self.network = None;
        self.stop(false, deadline).await
    }

    async fn stop(&self, force: bool, deadline: Deadline) -> Result<(), BootError> {
        let Commands { client, instance, .. } = &self.commands;
        let Err(error) = client.stop(instance, force, deadline).await else { return Ok(()) };
        match client.instance(instance, deadline).await {
            // It was quicker than the request.
            Ok(Some(instance)) if !instance.is_up() => Ok(()),
            _ => Err(ProvisionError::from(error).into()),
        }
    }

    /// Starts the stopped instance again, if there is room: while it was stopped, others may have taken what it had.
    async fn start(&mut self, size: Option<MachineSize>, deadline: Deadline) -> Result<Guest, BootError> {
        self.network = None;
        self.starts += 1;
        self.memory = size.map_or(self.memory, |size| size.memory);
        let Commands { client, instance, .. } = &self.commands;
        let one_at_a_time = lock_starts().await?;
        let started = async {
            let admission = client.admit(&self.lease, self.memory, self.budget, deadline).await?;
            if let Some(size) = size {
                client.set_size(instance, size.memory, size.cpus, deadline).await?;
            }
            client.start(instance, deadline).await?;
            Ok(admission)
        };
        self.admission = started.await.map_err(|error: IncusError| ProvisionError::from(error))?;
        drop(one_at_a_time);
        self.guest(deadline).await
    }

    async fn fetch_console(&self) -> io::Result<()> {
        let Commands { client, instance, .. } = &self.commands;
        let log = client.console_log(instance, Deadline::after(CONSOLE)).await.map_err(io::Error::other)?;
        fs::write(self.console_log(), log)
    }

    /// What the console ends with, or why that is not known.
    async fn console(&self) -> String {
        match self.fetch_console().await {
            Ok(()) => fs::read_to_string(self.console_log()).unwrap_or_default(),
            Err(error) => error.to_string(),
        }
    }

    async fn boot_error(&self, source: TransportError) -> BootError {
        let (name, console) = (self.lease.machine().to_owned(), self.console().await);
        match source {
            TransportError::Deadline { .. } => BootError::Deadline { name, console },
            source => BootError::Transport { source, console },
        }
    }

    async fn move_evidence(&self, to: &Path) -> io::Result<()> {
        if let Err(error) = self.fetch_console().await {
            tracing::warn!(%error, "reading the console log");
        }
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(self.lease.dir())? {
            let file = entry?.path();
            if let (Some(name), true) = (file.file_name(), file.is_file()) {
                // A copy, as the directories may be on different file systems.
                fs::copy(&file, to.join(name))?;
            }
        }
        Ok(())
    }

    /// Waits for a virtual machine's agent; a container takes commands as soon as it runs.
    async fn await_agent(&self, deadline: Deadline) -> Result<(), BootError> {
        let Commands { client, instance, kind } = &self.commands;
        loop {
            match client.state(instance, deadline).await {
                Ok(state) if state.takes_commands() => return Ok(()),
                Ok(state) if !state.is_up() => {
                    let reason = format!("its instance is {}", state.status);
                    return Err(self.boot_error(TransportError::Lost { reason }).await);
                }
                Err(IncusError::Deadline { .. }) if *kind == InstanceType::VirtualMachine => {
                    return Err(self.uncontrolled().await);
                }
                state => drop(state.map_err(ProvisionError::from)?),
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }

    /// A virtual machine that runs, and has no agent that the server can reach.
    async fn uncontrolled(&self) -> BootError {
        BootError::Uncontrolled {
            name: self.lease.machine().to_owned(),
            missing: "its Incus agent did not come up",
            remedy: "import an image that runs incus-agent (NixOS: the module `incus-virtual-machine`, which sets \
                     `virtualisation.incus.agent.enable = true`), or allow more time with `deadline` under [machine]",
            console: self.console().await,
        }
    }
}

#[async_trait]
impl Machine for IncusMachine {
    fn name(&self) -> &str {
        self.lease.machine()
    }

    fn admission(&self) -> Option<Admission> {
        Some(self.admission.clone())
    }

    async fn guest(&mut self, deadline: Deadline) -> Result<Guest, BootError> {
        let guest = Guest::new(Arc::new(self.commands.clone()));
        if self.network.is_none() {
            self.await_agent(deadline).await?;
            if let Err(error) = guest.settle_boot(deadline).await {
                return Err(self.boot_error(error).await);
            }
            let (services, forwards) = (self.services.as_slice(), self.forwards.iter().copied());
            let capture = self.packet_capture();
            let opened = Network::open(&self.commands, &guest, services, forwards, &capture, deadline).await;
            self.network = Some(match opened {
                Ok(network) => network,
                Err(NetworkError::Transport(error)) => return Err(self.boot_error(error).await),
                Err(error) => return Err(ProvisionError::Start { reason: error.to_string() }.into()),
            });
        }
        Ok(guest)
    }

    fn endpoint(&self, guest_port: u16) -> Option<SocketAddr> {
        self.network.as_ref()?.endpoint(guest_port)
    }

    fn evidence(&self) -> MachineEvidence {
        MachineEvidence {
            console_log: self.console_log(),
            packet_capture: Some(self.packet_capture()),
            accelerator: self.accelerator.clone(),
            start: Start::Cold { fallback: None },
            process: None,
            argv: Vec::new(),
        }
    }

    async fn reboot(&mut self, deadline: Deadline) -> Result<Guest, BootError> {
        self.shut_down(deadline).await?;
        self.start(None, deadline).await
    }

    async fn kill_and_restart(&mut self, size: Option<MachineSize>, deadline: Deadline) -> Result<Guest, BootError> {
        self.network = None;
        self.stop(true, deadline).await?;
        self.start(size, deadline).await
    }

    async fn resize(&mut self, size: MachineSize, deadline: Deadline) -> Result<Guest, BootError> {
        self.shut_down(deadline).await?;
        self.start(Some(size), deadline).await
    }

    async fn destroy(self: Box<Self>, evidence: Option<&Path>) -> Result<Destroyed, DestroyError> {
        let moved = match evidence {
            None => Ok(()),
            Some(to) => self
                .move_evidence(to)
                .await
                .map_err(|source| DestroyError::Evidence { path: PathBuf::from(to), source }),
        };
        let Self { network, lease, .. } = *self;
        drop(network);
        // The lease removes the instance, and looks whether it is gone.
        let receipt = tokio::task::spawn_blocking(|| lease.release()).await;
        moved?;
        receipt.map_err(|error| DestroyError::Interrupted(error.to_string()))
    }

    async fn keep(self: Box<Self>) -> Result<String, DestroyError> {
        Ok(self.lease.keep()?)
    }
}
