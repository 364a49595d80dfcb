//! The boundary between the harness and whatever makes machines.
//!
//! A [`Provider`] creates a [`Machine`] for a [`Lease`], which is in the ledger before the
//! machine exists. A machine gives a [`Guest`] once it has booted, and a receipt once it is
//! destroyed.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use serde::Serialize;

use crate::{
    budget::Admission,
    deadline::Deadline,
    disk_image::DiskImage,
    guest::{Guest, TransportError},
    lease::{Lease, LeaseError},
    neighbours::Neighbour,
    receipt::Destroyed,
};

/// A bootable image: a root file system and the kernel that starts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootImage {
    /// The raw root disk. It is only read.
    pub root: PathBuf,
    /// An uncompressed kernel (`vmlinux`).
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: PathBuf,
    /// The root tree without a kernel, for containers (tar, packed by zstd).
    pub archive: PathBuf,
    /// What the image is identified by; a stage made of it is kept under this name.
    pub key: String,
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineImage {
    /// An image that was built here: its kernel is started directly.
    Built(BootImage),
    /// A disk with a boot loader.
    Disk(DiskImage),
    /// An image that the provider's server has; by its fingerprint there.
    Server(String),
}

impl MachineImage {
    /// The image, for a provider that boots no disk of somebody's own.
    ///
    /// # Errors
    /// [`ProvisionError::Unmet`] when it is one.
    pub fn built(&self) -> Result<&BootImage, ProvisionError> {
        match self {
            Self::Built(image) => Ok(image),
            Self::Disk(_) => Err(ProvisionError::Unmet {
                problem: "this provider boots no disk image of one's own".to_owned(),
                remedy: "use the provider `qemu`, or leave [machine.image] out".to_owned(),
            }),
            Self::Server(_) => Err(ProvisionError::Unmet {
                problem: "this provider has no server with images".to_owned(),
                remedy: "use the provider `incus`".to_owned(),
            }),
        }
    }

    /// The files that the machine's process reads.
    pub(crate) fn files(&self) -> Vec<&Path> {
        match self {
            Self::Built(image) => vec![&image.root, &image.kernel, &image.initrd],
            Self::Disk(image) => vec![&image.file],
            Self::Server(_) => Vec::new(),
        }
    }
}

impl From<BootImage> for MachineImage {
    fn from(image: BootImage) -> Self {
        Self::Built(image)
    }
}

/// A program on the controller that the guest reaches at an address of its own network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestService {
    /// The address inside the guest's network, e.g. 10.0.2.100.
    pub address: Ipv4Addr,
    /// The TCP port at that address.
    pub port: u16,
    /// The Unix socket on the controller that takes the connections.
    pub socket: PathBuf,
}

/// What a machine is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// The machine's name, unique among the running machines of a run; its lease has the same.
    pub name: String,
    /// Memory in bytes.
    pub memory: u64,
    /// Virtual processors.
    pub cpus: u32,
    /// Size of the root disk in bytes.
    pub disk: u64,
    /// Guest TCP ports that the controller reaches at [`Machine::endpoint`].
    pub forwards: Vec<u16>,
    /// Programs on the controller that the guest reaches. It reaches nothing else.
    pub guest_services: Vec<GuestService>,
    /// What it starts from. A provider that cannot fork boots the image.
    pub origin: Origin,
    /// What the machine boots.
    pub image: MachineImage,
    /// How it stands against other machines where processors are short. A provider that cannot tell them apart ignores it.
    pub priority: Priority,
}

/// What a machine starts from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// Its image, which it boots.
    Image,
    /// The stage `blank`, where that can be had: a machine that has booted and holds nothing of any host.
    #[default]
    Blank,
    /// Its image. Memory and disk are in this directory, which is made, so that [`Machine::save`] leaves them there.
    Saving(PathBuf),
    /// What [`Machine::save`] left in this directory. Its secrets are in it, so it has to be in RAM and to end with whoever
    /// made it.
    Saved(PathBuf),
}

/// Which machines go first where there are more of them than processors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// As any other process.
    #[default]
    Normal,
    /// Others go first.
    Background,
}

/// Memory and processors of a machine that is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineSize {
    /// Memory in bytes.
    pub memory: u64,
    /// Virtual processors.
    pub cpus: u32,
}

/// How a machine's processors are run, and why in this way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accelerator {
    /// `kvm`, `tcg`, or what another provider reports.
    pub name: String,
    /// What led to the choice, for people.
    pub reason: String,
}

/// What a provider can do. Every one reboots a machine, changes its memory and records its packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// The provider's stable name, e.g. `qemu`.
    pub provider: String,
    /// How processors are run.
    pub accelerator: Accelerator,
    /// Whether a machine can start as a fork of a running one.
    pub fork: bool,
}

/// How a machine came to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Start {
    /// It booted.
    Cold {
        /// Why it booted although a fork was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        fallback: Option<String>,
    },
    /// It is a fork of a stage.
    Fork {
        /// The fingerprint of a `blank` stage, or `switched`.
        stage: String,
    },
}

/// Where a machine leaves evidence of what it did, and how it was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineEvidence {
    /// Everything the guest wrote to its serial console.
    pub console_log: PathBuf,
    /// The head of every packet on the guest's network card (pcap).
    pub packet_capture: Option<PathBuf>,
    /// How the processors were run.
    pub accelerator: Accelerator,
    /// Whether the machine booted or was forked.
    pub start: Start,
    /// The process that is the machine, if it is a process and runs.
    pub process: Option<u32>,
    /// Its command line.
    pub argv: Vec<String>,
}

/// Makes machines.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What this provider can do here.
    fn capabilities(&self) -> Capabilities;

    /// Creates a machine that `lease` pays for, by `deadline`. The lease is released when this fails.
    ///
    /// # Errors
    /// [`ProvisionError`] when there is no machine; nothing of it is left.
    async fn create(
        &self,
        spec: &MachineSpec,
        lease: Lease,
        deadline: Deadline,
    ) -> Result<Box<dyn Machine>, ProvisionError>;

    /// Whether its machines take memory of this computer's, which the caller lets them in to ([`Lease::admit`]). One whose
    /// machines are elsewhere lets them in itself, and says so at [`Machine::admission`].
    fn is_here(&self) -> bool {
        true
    }

    /// What runs where its machines do and is not of the run `run`, beyond what the ledger tells.
    ///
    /// # Errors
    /// When that cannot be told.
    async fn neighbours(&self, _run: &str) -> Result<Vec<Neighbour>, ProvisionError> {
        Ok(Vec::new())
    }
}

/// A machine as seen from outside. Dropping it kills it and removes what it left.
#[async_trait]
pub trait Machine: Send + Sync {
    /// The name from the machine's spec.
    fn name(&self) -> &str;

    /// What ran when its provider last let it in, before a start; none where the caller did.
    fn admission(&self) -> Option<Admission> {
        None
    }

    /// Waits until the guest takes commands.
    async fn guest(&mut self, deadline: Deadline) -> Result<Guest, BootError>;

    /// Where the controller reaches a declared guest port; `None` for any other port.
    fn endpoint(&self, guest_port: u16) -> Option<SocketAddr>;

    /// Where the evidence is, as long as the machine is not destroyed.
    fn evidence(&self) -> MachineEvidence;

    /// Reboots in good order and waits until the guest takes commands again. Guests from
    /// before the reboot stay usable.
    async fn reboot(&mut self, deadline: Deadline) -> Result<Guest, BootError>;

    /// Kills the machine as it is (not a power cut: what was written is kept), starts it
    /// again from its disk with `size`, and waits for the guest. Earlier guests are dead.
    async fn kill_and_restart(&mut self, size: Option<MachineSize>, deadline: Deadline) -> Result<Guest, BootError>;

    /// Shuts down in good order, then starts again with another size. Earlier guests are dead.
    async fn resize(&mut self, size: MachineSize, deadline: Deadline) -> Result<Guest, BootError>;

    /// Ends the machine as it is now, so that others start from it with [`Origin::Saved`]. Its guests are dead.
    ///
    /// # Errors
    /// When it was not made for that, with [`Origin::Saving`], or its provider cannot save machines.
    async fn save(&mut self) -> Result<(), ProvisionError> {
        Err(ProvisionError::Unmet {
            problem: format!("{} was not made to be saved", self.name()),
            remedy: "make it on QEMU, with `Origin::Saving`".to_owned(),
        })
    }

    /// Destroys the machine and everything it left, and says for each thing whether it is gone.
    /// The evidence files are moved to the directory `evidence` first, if one is given.
    async fn destroy(self: Box<Self>, evidence: Option<&Path>) -> Result<Destroyed, DestroyError>;

    /// Leaves the machine running without an owner, and returns its lease's id.
    /// Guest services end with this process.
    async fn keep(self: Box<Self>) -> Result<String, DestroyError>;
}

/// There is no machine.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The lease could not be written or extended.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A tool is missing, or a file is not readable by the machine's user.
    #[error("{problem}; {remedy}")]
    Unmet {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The machine's process ended, or did not answer.
    #[error(
        "the machine did not start: {reason}\n\
         see that the sizes under [machine] fit, or check the image with `coldproof image --verify`"
    )]
    Start {
        /// What the process said.
        reason: String,
    },
    /// A file or socket of the machine could not be prepared.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
}

impl ProvisionError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The guest never took a command.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The deadline passed.
    #[error(
        "{name} did not take commands before its deadline, which is in the host definition; \
         its console ended with:\n{console}"
    )]
    Deadline {
        /// The machine.
        name: String,
        /// The last lines of its serial console.
        console: String,
    },
    /// The deadline passed, and the guest is not prepared for the way in which it is controlled.
    #[error(
        "{name} booted from an image of its own and {missing} before its deadline, which is in the host definition; \
         {remedy}; its console ended with:\n{console}"
    )]
    Uncontrolled {
        /// The machine.
        name: String,
        /// What it did not do.
        missing: &'static str,
        /// What to do to the image.
        remedy: &'static str,
        /// The last lines of its serial console.
        console: String,
    },
    /// The machine could not be started again.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The way to the guest was lost.
    #[error("{source}; the console ended with:\n{console}")]
    Transport {
        /// How it was lost.
        source: TransportError,
        /// The last lines of the serial console.
        console: String,
    },
}

/// Destroying, or handing over, failed half way. What is left is in the ledger, and
/// `coldproof machines reap` removes it.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// Evidence could not be moved. The machine is destroyed all the same.
    #[error("moving evidence to {}: {source}", path.display())]
    Evidence {
        /// The directory that was named.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The ledger could not be written.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The release was cut short, as when the asynchronous runtime shuts down.
    #[error("releasing the lease was interrupted ({0}); `coldproof machines reap` finishes it")]
    Interrupted(String),
}
