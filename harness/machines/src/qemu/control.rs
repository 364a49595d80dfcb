//! How a machine's guest takes commands: which way it is, and when it is open.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    agent::{self, Agent},
    channel::Channel,
    console::{Console, Shell},
    lost_interrupt,
    process::{Files, Process},
    ssh::{self, Ssh},
};
use crate::{
    deadline::Deadline,
    disk_image::Control as Declared,
    guest::{Transport, TransportError},
    mark::Mark,
    provider::{MachineImage, ProvisionError},
};

/// The way to the guest.
#[derive(Debug)]
pub(super) enum Control {
    Console(Arc<Console>),
    Agent(Arc<Agent>),
    Ssh {
        ssh: Arc<Ssh>,
        /// Whether its boot is waited for.
        boots: AtomicBool,
    },
}

/// How waiting for the guest ended.
pub(super) enum Opening {
    /// It takes commands.
    Open,
    /// It never will: QEMU's emulation lost an interrupt of its boot, and this is what tells.
    Stuck(String),
}

/// What an image lacks whose guest never took a command.
pub(super) struct Lack {
    pub(super) missing: &'static str,
    pub(super) remedy: &'static str,
}

/// The guest port that the control itself needs.
pub(super) fn port(image: &MachineImage) -> Option<u16> {
    match image {
        MachineImage::Disk(image) if matches!(image.control, Declared::Ssh { .. }) => Some(ssh::PORT),
        _ => None,
    }
}

impl Control {
    /// Connects to what QEMU offers; the guest need not be there yet.
    pub(super) async fn connect(
        image: &MachineImage,
        files: &Files,
        shell: Shell,
        endpoints: &BTreeMap<u16, SocketAddr>,
        mark: &Mark,
    ) -> Result<Self, ProvisionError> {
        let declared = match image {
            MachineImage::Built(_) | MachineImage::Server(_) => &Declared::Console,
            MachineImage::Disk(image) => &image.control,
        };
        let connected: io::Result<Self> = async {
            Ok(match declared {
                Declared::Console => {
                    let (console, bulk) = (files.socket(Channel::Console), files.socket(Channel::Bulk));
                    Self::Console(Arc::new(Console::connect(&console, &bulk, shell).await?))
                }
                Declared::GuestAgent => {
                    Self::Agent(Arc::new(Agent::connect(&files.socket(Channel::Agent), shell == Shell::Booting).await?))
                }
                Declared::Ssh { key } => {
                    let endpoint = endpoints.get(&ssh::PORT).copied();
                    let endpoint = endpoint.ok_or_else(|| io::Error::other("the port of sshd is not forwarded"))?;
                    let (key, known_hosts, mark) = (key.clone(), files.known_hosts(), mark.clone());
                    let ssh = Ssh { key, endpoint, known_hosts, mark };
                    ssh.write(&files.ssh())?;
                    Self::Ssh { ssh: Arc::new(ssh), boots: AtomicBool::new(shell == Shell::Booting) }
                }
            })
        }
        .await;
        connected.map_err(ProvisionError::io("connecting to the guest's control"))
    }

    /// Waits until the guest takes commands, or QEMU ends. While the guest boots, it is also looked whether it still can.
    pub(super) async fn ready(
        &self,
        process: &mut Process,
        cpus: u32,
        deadline: Deadline,
    ) -> Result<Opening, TransportError> {
        let boots = self.boots();
        let (child, qmp) = process.parts();
        let (commands, events) = qmp.parts();
        let ready = async {
            match self {
                Self::Console(console) => console.ready(deadline).await,
                Self::Agent(agent) => {
                    if agent.is_closed() {
                        agent::opened(events, deadline).await?;
                    }
                    agent.ready(deadline).await
                }
                Self::Ssh { ssh, boots } => {
                    ssh.ready(deadline).await?;
                    boots.store(false, Ordering::Relaxed);
                    Ok(())
                }
            }
        };
        tokio::select! {
            biased;
            ready = ready => ready.map(|()| Opening::Open),
            _ = child.wait() => Err(TransportError::Lost { reason: "QEMU ended".to_owned() }),
            what = lost_interrupt::seen(commands, cpus), if boots => Ok(Opening::Stuck(what)),
        }
    }

    /// Whether nothing but the boot is waited for.
    fn boots(&self) -> bool {
        match self {
            Self::Console(console) => console.boots(),
            Self::Agent(agent) => agent.is_closed(),
            Self::Ssh { boots, .. } => boots.load(Ordering::Relaxed),
        }
    }

    /// Says that the guest has begun to boot again.
    pub(super) async fn expect_boot(&self) {
        match self {
            Self::Console(console) => console.expect_boot().await,
            Self::Agent(agent) => agent.expect_boot(),
            Self::Ssh { boots, .. } => boots.store(true, Ordering::Relaxed),
        }
    }

    pub(super) fn transport(&self) -> Arc<dyn Transport> {
        match self {
            Self::Console(console) => Arc::clone(console) as Arc<dyn Transport>,
            Self::Agent(agent) => Arc::clone(agent) as Arc<dyn Transport>,
            Self::Ssh { ssh, .. } => Arc::clone(ssh) as Arc<dyn Transport>,
        }
    }

    /// What the image lacks, where the deadline passed while this was waited for.
    pub(super) fn lack(&self, waited_for: &str) -> Option<Lack> {
        match self {
            Self::Agent(_) if waited_for == agent::WAITING => Some(Lack {
                missing: "no QEMU guest agent opened its port",
                remedy: "enable it in the image (NixOS: `services.qemuGuest.enable = true`; Debian: the package \
                         qemu-guest-agent), or write `control = \"ssh\"` under [machine.image]",
            }),
            Self::Ssh { .. } if waited_for == ssh::WAITING => {
                Some(Lack { missing: "its sshd let nobody in", remedy: ssh::REMEDY })
            }
            _ => None,
        }
    }
}
