//! A container as a machine.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use coldproof_container::{ExecTransport, NAMESERVER, Network, NetworkError};
use coldproof_machines::{
    deadline::Deadline,
    guest::{Guest, GuestCommand, TransportError},
    lease::Lease,
    provider::{
        BootError, DestroyError, GuestService, Machine, MachineEvidence, MachineSize, MachineSpec, ProvisionError,
        Start,
    },
    receipt::Destroyed,
};
use futures::StreamExt as _;
use testcontainers::{
    ContainerAsync, GenericImage,
    bollard::{
        Docker,
        models::ContainerUpdateBody,
        query_parameters::{KillContainerOptions, LogsOptions},
    },
};
use tokio::io::AsyncWriteExt as _;

use crate::{engine::EngineError, exec::DockerExec, provider::accelerator};

/// The engine lays files of its own over three of the image's, where they could neither be replaced nor be the image's.
/// Below them it has emptied the image's own, so these are written anew. A guest without a name server would ask itself,
/// where nobody sees what it asks for.
fn uncover() -> String {
    format!(
        "umount /etc/resolv.conf /etc/hostname /etc/hosts
         [[ -s /etc/resolv.conf ]] || echo nameserver {NAMESERVER} >/etc/resolv.conf
         [[ -s /etc/hosts ]] || printf '%s\\n' '127.0.0.1 localhost' \"127.0.1.1 $HOSTNAME\" '::1 localhost' >/etc/hosts
         [[ -s /etc/hostname ]] || echo \"$HOSTNAME\" >/etc/hostname"
    )
}

/// A container that runs, or has ended and can start again from its disk.
pub(crate) struct DockerMachine {
    // Fields are dropped in order: the network closes, testcontainers removes the container, the lease looks after it.
    network: Option<Network>,
    container: ContainerAsync<GenericImage>,
    docker: Docker,
    services: Vec<GuestService>,
    forwards: Vec<u16>,
    starts: u32,
    lease: Lease,
}

impl DockerMachine {
    pub(crate) fn new(
        docker: Docker,
        container: ContainerAsync<GenericImage>,
        spec: &MachineSpec,
        lease: Lease,
    ) -> Result<Self, ProvisionError> {
        let machine = Self {
            network: None,
            container,
            docker,
            services: spec.guest_services.clone(),
            forwards: spec.forwards.clone(),
            starts: 0,
            lease,
        };
        machine.follow_console()?;
        Ok(machine)
    }

    fn id(&self) -> &str {
        self.container.id()
    }

    fn exec(&self) -> Arc<DockerExec> {
        Arc::new(DockerExec { docker: self.docker.clone(), container: self.id().to_owned() })
    }

    /// The file of this kind that belongs to the current start.
    fn file(&self, name: &str, extension: &str) -> PathBuf {
        let number = if self.starts == 0 { String::new() } else { format!("-{}", self.starts) };
        self.lease.dir().join(format!("{name}{number}.{extension}"))
    }

    fn console_log(&self) -> PathBuf {
        self.file("console", "log")
    }

    fn packet_capture(&self) -> PathBuf {
        self.file("capture", "pcap")
    }

    /// Writes what the first process says into a file, until the container ends.
    fn follow_console(&self) -> Result<(), ProvisionError> {
        let path = self.console_log();
        let file = File::create(&path)
            .map_err(|source| ProvisionError::Io { what: format!("creating {}", path.display()), source })?;
        let options = LogsOptions { follow: true, stdout: true, stderr: true, ..LogsOptions::default() };
        let mut lines = self.docker.logs(self.id(), Some(options));
        tokio::spawn(async move {
            let mut file = tokio::fs::File::from_std(file);
            while let Some(Ok(line)) = lines.next().await {
                file.write_all(&line.into_bytes()).await?;
            }
            file.flush().await
        });
        Ok(())
    }

    /// Starts the container again; it has ended.
    async fn start_again(&mut self, size: Option<MachineSize>, deadline: Deadline) -> Result<Guest, BootError> {
        self.network = None;
        self.starts += 1;
        if let Some(size) = size {
            let update = ContainerUpdateBody {
                memory: i64::try_from(size.memory).ok(),
                // Docker's rule: swap counts on top of memory, and equal numbers mean none.
                memory_swap: i64::try_from(size.memory).ok(),
                nano_cpus: Some(i64::from(size.cpus) * 1_000_000_000),
                ..ContainerUpdateBody::default()
            };
            self.docker.update_container(self.id(), update).await.map_err(refused("resizing the container"))?;
        }
        self.docker.start_container(self.id(), None).await.map_err(refused("starting the container again"))?;
        self.follow_console()?;
        self.guest(deadline).await
    }

    /// Asks the guest to end in good order, and waits until it has.
    async fn shut_down(&mut self, how: &str, deadline: Deadline) -> Result<(), BootError> {
        let guest = self.guest(deadline).await?;
        match guest.run(&GuestCommand::new(["systemctl", how]), deadline).await {
            // The program may be killed before it can answer, which is what was asked for.
            Ok(_) | Err(TransportError::Lost { .. }) => {}
            Err(error) => return Err(self.boot_error(error)),
        }
        let mut ended = self.docker.wait_container(self.id(), None);
        match deadline.bound(ended.next()).await {
            // Whatever status the first process ended with, it has ended.
            Ok(_) => Ok(()),
            Err(_) => Err(self.boot_error(TransportError::Deadline { command: how.to_owned() })),
        }
    }

    fn boot_error(&self, source: TransportError) -> BootError {
        let console = fs::read_to_string(self.console_log()).unwrap_or_default();
        let name = self.lease.machine().to_owned();
        match source {
            TransportError::Deadline { .. } => BootError::Deadline { name, console },
            source => BootError::Transport { source, console },
        }
    }

    fn move_evidence(&self, to: &Path) -> io::Result<()> {
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
}

#[async_trait]
impl Machine for DockerMachine {
    fn name(&self) -> &str {
        self.lease.machine()
    }

    async fn guest(&mut self, deadline: Deadline) -> Result<Guest, BootError> {
        let exec = self.exec();
        let guest = Guest::new(Arc::new(ExecTransport::new(Arc::clone(&exec))));
        if self.network.is_none() {
            // The first process makes its bus before it starts anything that could be waited for.
            let booted = guest.settle_boot(deadline).await;
            booted.map_err(|error| self.boot_error(error))?;
            let uncovered = guest.run(&GuestCommand::script(uncover()), deadline).await;
            uncovered.map_err(|error| self.boot_error(error))?;
            let (services, forwards) = (self.services.as_slice(), self.forwards.iter().copied());
            let capture = self.packet_capture();
            let network = Network::open(exec.as_ref(), &guest, services, forwards, &capture, deadline).await;
            self.network = Some(network.map_err(|error| match error {
                NetworkError::Transport(error) => self.boot_error(error),
                error => ProvisionError::Start { reason: error.to_string() }.into(),
            })?);
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
            accelerator: accelerator(),
            start: Start::Cold { fallback: None },
            process: None,
            argv: Vec::new(),
        }
    }

    async fn reboot(&mut self, deadline: Deadline) -> Result<Guest, BootError> {
        self.shut_down("reboot", deadline).await?;
        self.start_again(None, deadline).await
    }

    async fn kill_and_restart(&mut self, size: Option<MachineSize>, deadline: Deadline) -> Result<Guest, BootError> {
        let options = KillContainerOptions { signal: "KILL".to_owned() };
        self.docker.kill_container(self.id(), Some(options)).await.map_err(refused("killing the container"))?;
        self.start_again(size, deadline).await
    }

    async fn resize(&mut self, size: MachineSize, deadline: Deadline) -> Result<Guest, BootError> {
        self.shut_down("poweroff", deadline).await?;
        self.start_again(Some(size), deadline).await
    }

    async fn destroy(self: Box<Self>, evidence: Option<&Path>) -> Result<Destroyed, DestroyError> {
        let moved = evidence.map_or(Ok(()), |to| {
            self.move_evidence(to).map_err(|source| DestroyError::Evidence { path: PathBuf::from(to), source })
        });
        let Self { network, container, lease, .. } = *self;
        drop(network);
        if let Err(error) = container.rm().await {
            tracing::debug!(%error, "removing the container");
        }
        // The lease looks whether it is gone, and removes what is not.
        let receipt = tokio::task::spawn_blocking(|| lease.release()).await;
        moved?;
        receipt.map_err(|error| DestroyError::Interrupted(error.to_string()))
    }

    async fn keep(self: Box<Self>) -> Result<String, DestroyError> {
        let Self { container, lease, .. } = *self;
        // Dropping it would remove the container.
        std::mem::forget(container);
        Ok(lease.keep()?)
    }
}

fn refused(what: &'static str) -> impl FnOnce(testcontainers::bollard::errors::Error) -> BootError {
    move |error| BootError::Provision(EngineError::refused(what)(error).into())
}
