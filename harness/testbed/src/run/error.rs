//! Why a run ended without a bundle, and whose business it is.

use std::{io, path::PathBuf, time::Duration};

use coldproof_criteria::SelectError;
use coldproof_evidence::bundle::BundleError;
use coldproof_machines::{
    guest::{GuestFileError, TransportError},
    image::ImageError,
    lease::LeaseError,
    provider::{BootError, DestroyError, ProvisionError},
    ssh_host::SshError,
};

use crate::{
    host::{HostError, KeyError, Provider},
    sops::{SopsError, recipients::IdentityError},
    source::{ErrorKind, SourceError},
    tools::MissingTool,
};

/// Why a run ended without a bundle.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The host definition, or a file that it names.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A key or credential that the host definition names.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The one secret is none.
    #[error("the bootstrap key cannot be used: {0}")]
    BootstrapKey(#[source] IdentityError),
    /// Machines of this provider cannot be made.
    #[error(
        "this version of coldproof makes no machines with the provider `{}`; \
         write `provider = \"qemu\"` under [machine], or give --provider qemu",
        .0.word()
    )]
    Provider(Provider),
    /// The host that is there already is not named.
    #[error(
        "the provider `ssh` reads a host that is there already, and none is named; add [machine.ssh] with `host = \"…\"`"
    )]
    NoOriginal,
    /// A fault would be made in a host that is there already.
    #[error(
        "the fault `{0}` would be made in a host that is there already, which is only read; leave [fault] out, or give --provider qemu"
    )]
    FaultInOriginal(String),
    /// A fault would be made before a machine was saved that has been saved already.
    #[error(
        "the fault `{0}` is made before the switch, and the machine is a fork of one that has switched; leave `stage` out"
    )]
    FaultTooEarly(String),
    /// A host that is there already would be kept.
    #[error(
        "`{0}` was there before and is only read, so there is nothing to keep; leave --keep out, or give --provider qemu"
    )]
    KeptOriginal(String),
    /// The host that is there already cannot be read.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// Nothing says which Incus server.
    #[error(
        "the provider `incus` needs a server; write `url`, `project`, `certificate`, `key` and `fingerprint` under \
         [machine.incus] (docs/incus.md)"
    )]
    NoIncusServer,
    /// The host's configuration expects another machine than the one that is declared around its image.
    #[error("the host's configuration does not fit the machine that [machine.image] declares:\n{0}")]
    Misfit(String),
    /// The machine's disk is smaller than the image that is to be on it.
    #[error(
        "a disk of {disk_mib} MiB does not hold the image of {image_mib} MiB; write a larger `disk` under [machine]"
    )]
    DiskTooSmall {
        /// Size of the disk in MiB.
        disk_mib: u64,
        /// Size of the image's root disk in MiB.
        image_mib: u64,
    },
    /// A program that is not installed.
    #[error(transparent)]
    Tool(#[from] MissingTool),
    /// The selection of criteria.
    #[error(transparent)]
    Selection(#[from] SelectError),
    /// The repositories.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The sops files, or sops itself.
    #[error(transparent)]
    Sops(#[from] SopsError),
    /// The blank image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A lease on a machine.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// A machine could not be had.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// A guest never took a command.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The way to a guest was lost.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The machine's deadline passed.
    #[error(
        "the machine's deadline of {} passed while `{command}` ran; \
         write a longer `deadline` under [machine], or see with --keep what it waits for",
        humantime::format_duration(*limit)
    )]
    Late {
        /// From the host definition.
        limit: Duration,
        /// The first words of the command.
        command: String,
    },
    /// A file could not be put into or taken out of a guest.
    #[error(transparent)]
    GuestFile(#[from] GuestFileError),
    /// A machine could not be destroyed.
    #[error(transparent)]
    Destroy(#[from] DestroyError),
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A command of the harness itself failed in a guest.
    #[error(
        "{step} failed in the guest (exit {status}):\n{words}\nsee the console log, or look into the machine with --keep"
    )]
    Guest {
        /// What was being done.
        step: String,
        /// The exit code.
        status: i32,
        /// What the command said last.
        words: String,
    },
    /// The observer's answer is not what was asked for.
    #[error(
        "the answer of `observer {subcommand}` cannot be read: {source}; this is a fault of coldproof itself, please report it"
    )]
    Observer {
        /// Which of its subcommands.
        subcommand: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The bundle's directory cannot be used.
    #[error("{} exists already; name another directory with --out, or remove it", .0.display())]
    OutExists(PathBuf),
    /// The bundle's directory cannot be made.
    #[error("{} cannot be made: {source}; name a directory that can with --out", out.display())]
    OutUnwritable {
        /// The bundle's directory.
        out: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The secrets cannot be looked for.
    #[error(transparent)]
    Matcher(#[from] coldproof_leaks::BuildError),
    /// A file of the harness.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The operating system's error.
        source: io::Error,
    },
}

impl RunError {
    /// Whose business it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Host(_)
            | Self::Key(_)
            | Self::BootstrapKey(_)
            | Self::Provider(_)
            | Self::NoOriginal
            | Self::FaultInOriginal(_)
            | Self::KeptOriginal(_)
            | Self::NoIncusServer
            | Self::DiskTooSmall { .. }
            | Self::Misfit(_)
            | Self::Selection(_)
            | Self::OutExists(_)
            | Self::OutUnwritable { .. } => ErrorKind::Definition,
            Self::Source(error) => error.kind(),
            Self::Sops(error) => error.kind(),
            _ => ErrorKind::Infrastructure,
        }
    }

    /// The same error, in the words of the host definition where it is about the deadline there.
    pub(super) fn with_deadline(self, limit: Duration) -> Self {
        match self {
            Self::Transport(TransportError::Deadline { command })
            | Self::GuestFile(GuestFileError::Transport(TransportError::Deadline { command })) => {
                Self::Late { limit, command }
            }
            other => other,
        }
    }

    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
