//! The host definition, parsed: every path is resolved, every value is valid, every default is filled in.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use coldproof_machines::{disk_image::DiskImage, image::Recipe, ssh_host::SshHost};
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use url::Url;

use super::{
    Commit, Credentials, CriterionGlob, Destination, FileMode, GuestPath, HostName, KeySource, Name, PackageName,
    Program, RepositoryPath, Revision, SharedGlob, Size, Span, StorePath, UnitName, Waived, references::AgeRecipient,
};

/// Everything that is declared about one host.
#[derive(Clone, Debug)]
pub struct HostDefinition {
    /// The file that it was read from.
    pub file: PathBuf,
    /// The host itself.
    pub host: Host,
    /// The repositories.
    pub source: Source,
    /// The sops files, relative to the repository's root.
    pub sops_files: Vec<RepositoryPath>,
    /// Every recipient that the sops files may have, by name.
    pub recipients: BTreeMap<Name, Recipient>,
    /// Destinations that the guest may reach.
    pub allowed_egress: Vec<Destination>,
    /// The one secret that is delivered.
    pub bootstrap: Bootstrap,
    /// The machine to build it on.
    pub machine: Machine,
    /// Every declared secret, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// What need not be declared.
    pub waivers: Vec<Waiver>,
    /// What units may share although nothing orders them; none without `[ordering]`.
    pub shared: Option<Vec<Shared>>,
    /// What is declared about TLS.
    pub tls: Option<Tls>,
    /// Every declared service, by name.
    pub services: BTreeMap<Name, Service>,
    /// Criteria that are required beyond those that a subject is declared for.
    pub required: Vec<CriterionGlob>,
    /// A fault to inject on purpose; a run with one proves nothing about the host.
    pub fault: Option<Fault>,
}

impl HostDefinition {
    /// Guest ports that must be reachable from the controller: that of TLS, and those of the services' URLs.
    #[must_use]
    pub fn forwards(&self) -> BTreeSet<u16> {
        let urls = self.services.values().filter_map(|service| match service {
            Service::Http { url, .. } => url.port_or_known_default(),
            Service::Unit { .. } | Service::Stack { .. } => None,
        });
        self.tls.iter().map(|tls| tls.port).chain(urls).collect()
    }

    /// The recipe of the image that the host is rebuilt on: `base`, with the packages that it asks for.
    #[must_use]
    pub fn recipe(&self, base: &Recipe) -> Recipe {
        base.clone().with_packages(self.machine.packages.iter().map(ToString::to_string))
    }
}

/// The host itself.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub name: Name,
    /// The flake's directory inside the repository.
    pub flake: RepositoryPath,
    /// The attribute under `nixosConfigurations`.
    pub attribute: Name,
    /// The rebuild command.
    pub rebuild: Program,
    /// The toplevel that the original runs.
    pub toplevel: Option<StorePath>,
}

/// The repositories.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where the superproject is.
    pub repository: Repository,
    /// Which revision of it.
    pub revision: Revision,
    /// The operator's own checkout.
    pub tree: Option<PathBuf>,
    /// Whether each repository must refuse a clone without credentials.
    pub private: bool,
    /// How to get in.
    pub credentials: Option<Credentials>,
    /// Submodule path to the commit that is accepted although it is not its branch's tip.
    pub pins: BTreeMap<RepositoryPath, Commit>,
}

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repository {
    /// A directory of the controller, served to the guest by coldproof.
    Local {
        /// The directory.
        path: PathBuf,
        /// As it was written.
        declared: String,
    },
    /// An `http:` or `https:` URL without user and password.
    Http(Url),
}

impl Repository {
    /// The URL or path as it was declared.
    #[must_use]
    pub fn declared(&self) -> &str {
        match self {
            Self::Local { declared, .. } => declared,
            Self::Http(url) => url.as_str(),
        }
    }
}

/// One recipient of the sops files.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Its age form, derived where an ssh key was declared.
    pub age: AgeRecipient,
    /// Whether it was declared as the host's ssh key.
    pub ssh: bool,
    /// Where the private half is held, if the controller has it.
    pub key: Option<KeySource>,
}

/// The one secret that is delivered to the blank guest.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Where the controller has it.
    pub key: KeySource,
    /// Where the guest gets it.
    pub path: GuestPath,
    /// Its public half.
    pub recipient: AgeRecipient,
}

/// The machine to build the host on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Who makes it.
    pub provider: Provider,
    /// Memory.
    pub memory: Size,
    /// Virtual processors, at least one.
    pub cpus: u16,
    /// Size of its disk.
    pub disk: Size,
    /// What it boots, where that is not an image built by coldproof.
    pub image: Option<DiskImage>,
    /// Debian packages that the image built by coldproof has beyond its own.
    pub packages: BTreeSet<PackageName>,
    /// The host that is there already, for [`Provider::Ssh`].
    pub original: Option<Original>,
    /// Within which the switch must have converged.
    pub deadline: Span,
    /// The Incus server, where one is declared.
    pub incus: Option<coldproof_incus::provider::Settings>,
}

/// A host that is there already and is only read, and who makes the machine that it is compared with.
#[derive(Clone, Debug)]
pub struct Original {
    /// How it is reached.
    pub ssh: SshHost,
    /// Who makes the witness. Never [`Provider::Ssh`].
    pub witness: Provider,
}

/// Who makes machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// QEMU on the controller.
    #[default]
    Qemu,
    /// An Incus server.
    Incus,
    /// Docker on the controller.
    Docker,
    /// Nobody: a host that is there already is read over SSH.
    Ssh,
}

impl Provider {
    /// The word in the host definition, in records and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Incus => "incus",
            Self::Docker => "docker",
            Self::Ssh => "ssh",
        }
    }
}

/// One secret that must be in the guest.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Its key in the sops file.
    pub sops_key: String,
    /// The sops file.
    pub sops_file: RepositoryPath,
    /// Its path in the guest.
    pub path: GuestPath,
    /// Permission bits.
    pub mode: FileMode,
    /// Owner's name.
    pub owner: Name,
    /// Group's name.
    pub group: Name,
    /// Links that must resolve to it.
    pub links: Vec<GuestPath>,
    /// Whether the value is no secret at all (a certificate).
    pub public: bool,
}

/// An exception from `coverage.complete`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// What is waived.
    pub what: Waived,
    /// Why.
    pub reason: String,
}

/// An exception from `ordering.race-free`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// The path in the guest, or a glob of paths.
    pub path: SharedGlob,
    /// The units that may share it, at least two or a glob.
    pub units: Vec<SharedGlob>,
    /// Why that does no harm.
    pub reason: String,
}

/// What is declared about TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Where git has the certificate chain.
    pub certificate: SopsValue,
    /// Where git has its private key.
    pub private_key: Option<SopsValue>,
    /// Root certificates, at least one.
    pub roots: Vec<CertificateDer<'static>>,
    /// Names that must be served, at least one.
    pub names: Vec<HostName>,
    /// Whether a random name under the wildcard is asked for as well.
    pub wildcard_probe: bool,
    /// The port in the guest.
    pub port: u16,
    /// Days of validity that must be left.
    pub min_days: u32,
}

/// One value in a sops file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SopsValue {
    /// The file, relative to the repository's root.
    pub sops_file: RepositoryPath,
    /// The key in it.
    pub key: String,
}

/// One declared service.
#[derive(Clone, Debug)]
pub enum Service {
    /// It answers a request from outside the guest.
    Http {
        /// An `http:` or `https:` URL.
        url: Url,
        /// The status that it must answer with.
        status: u16,
    },
    /// A unit is in a state.
    Unit {
        /// The unit.
        unit: UnitName,
        /// Its state.
        state: UnitState,
    },
    /// A stack of a Docker swarm runs.
    Stack {
        /// The stack's name.
        stack: Name,
        /// How many tasks its services have together, at least one.
        replicas: u32,
    },
}

/// The state that a declared unit must be in: systemd's `ActiveState`, of those that last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// Running, or a oneshot that remains after it has exited.
    #[default]
    Active,
    /// Not running, without having failed.
    Inactive,
}

impl UnitState {
    /// systemd's word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

/// A fault that is injected on purpose, to see that a criterion catches it.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its name.
    pub name: Name,
    /// When.
    pub stage: FaultStage,
    /// The bash script that injects it.
    pub script: PathBuf,
}

/// When a fault's script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultStage {
    /// In the guest, before the inventory is taken.
    Blank,
    /// In the guest, after the key was delivered.
    Bootstrapped,
    /// In the guest, after the switch and before it is observed.
    Switched,
    /// On the controller, when the machine is torn down.
    Teardown,
}
