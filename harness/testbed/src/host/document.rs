//! The host definition as it is written: tables and keys, before they are related to each other and to files.
//!
//! A value is [`Spanned`] where a later check may have to point at it. Where somebody might write a secret by mistake,
//! serde sees an opaque [`toml::Value`]: its own messages would repeat what was written.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use coldproof_incus::instance::InstanceType;
use coldproof_machines::disk_image::{DiskBus, Firmware, Nic};
use serde::Deserialize;
use toml::Spanned;

use super::{
    Commit, CriterionGlob, Destination, FileMode, GuestPath, HostName, Name, PackageName, Program, RepositoryPath,
    Revision, Size, Span, StorePath, UnitName,
    definition::{FaultStage, Provider, Shared, SopsValue, UnitState, Waiver},
    references::AgeRecipient,
};

/// Where a key or credential is held, not yet looked at.
pub(super) type Opaque = Spanned<toml::Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) host: HostTable,
    pub(super) source: SourceTable,
    #[serde(default)]
    pub(super) sops: SopsTable,
    #[serde(default)]
    pub(super) recipients: BTreeMap<Name, Spanned<RecipientTable>>,
    #[serde(default)]
    pub(super) network: NetworkTable,
    pub(super) bootstrap: BootstrapTable,
    #[serde(default)]
    pub(super) machine: MachineTable,
    #[serde(default)]
    pub(super) secrets: BTreeMap<String, Spanned<SecretTable>>,
    #[serde(default)]
    pub(super) coverage: CoverageTable,
    pub(super) ordering: Option<OrderingTable>,
    pub(super) tls: Option<TlsTable>,
    #[serde(default)]
    pub(super) services: BTreeMap<Name, Spanned<ServiceTable>>,
    #[serde(default)]
    pub(super) policy: PolicyTable,
    pub(super) fault: Option<FaultTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostTable {
    pub(super) name: Name,
    pub(super) flake: Option<RepositoryPath>,
    pub(super) attribute: Option<Name>,
    pub(super) rebuild: Option<Program>,
    pub(super) toplevel: Option<StorePath>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceTable {
    pub(super) url: Spanned<String>,
    pub(super) revision: Revision,
    pub(super) tree: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub(super) private: bool,
    pub(super) credentials: Option<Opaque>,
    #[serde(default)]
    pub(super) pins: BTreeMap<RepositoryPath, Commit>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SopsTable {
    pub(super) files: Vec<Spanned<RepositoryPath>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecipientTable {
    pub(super) age: Option<AgeRecipient>,
    pub(super) ssh: Option<Spanned<String>>,
    pub(super) key: Option<Opaque>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkTable {
    pub(super) allow: Vec<Destination>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BootstrapTable {
    pub(super) key: Opaque,
    pub(super) path: GuestPath,
    pub(super) recipient: AgeRecipient,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MachineTable {
    #[serde(default)]
    pub(super) provider: Provider,
    pub(super) memory: Option<Size>,
    pub(super) cpus: Option<Spanned<u16>>,
    pub(super) disk: Option<Size>,
    pub(super) image: Option<Spanned<ImageTable>>,
    pub(super) packages: Option<Spanned<Vec<Spanned<PackageName>>>>,
    pub(super) ssh: Option<Spanned<SshTable>>,
    pub(super) deadline: Option<Span>,
    pub(super) incus: Option<Spanned<IncusTable>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct IncusTable {
    pub(super) url: Spanned<String>,
    pub(super) project: Name,
    pub(super) certificate: Spanned<PathBuf>,
    pub(super) key: Spanned<String>,
    pub(super) fingerprint: Option<Spanned<String>>,
    pub(super) authority: Option<Spanned<PathBuf>>,
    pub(super) proxy: Option<Spanned<String>>,
    pub(super) budget: Option<Size>,
    #[serde(default)]
    pub(super) r#type: InstanceType,
    pub(super) image: Option<Name>,
    pub(super) user_data: Option<Spanned<PathBuf>>,
    pub(super) pool: Option<Name>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ImageTable {
    pub(super) file: Spanned<PathBuf>,
    #[serde(default)]
    pub(super) firmware: Firmware,
    #[serde(default)]
    pub(super) bus: DiskBus,
    pub(super) serial: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) nic: Nic,
    #[serde(default)]
    pub(super) control: ControlWord,
    pub(super) ssh_key: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SshTable {
    pub(super) host: Spanned<String>,
    pub(super) config: Option<Spanned<PathBuf>>,
    pub(super) address: Option<IpAddr>,
    #[serde(default)]
    pub(super) witness: Provider,
}

/// How the guest takes commands, without what that needs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ControlWord {
    #[default]
    GuestAgent,
    Ssh,
    Console,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretTable {
    pub(super) key: Option<String>,
    pub(super) file: Option<Spanned<RepositoryPath>>,
    pub(super) path: Spanned<GuestPath>,
    pub(super) mode: FileMode,
    pub(super) owner: Option<Name>,
    pub(super) group: Option<Name>,
    #[serde(default)]
    pub(super) links: Vec<GuestPath>,
    #[serde(default)]
    pub(super) public: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CoverageTable {
    pub(super) waive: Vec<Spanned<Waiver>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderingTable {
    #[serde(default)]
    pub(super) allow: Vec<Spanned<Shared>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct TlsTable {
    pub(super) certificate: Spanned<SopsValue>,
    pub(super) private_key: Option<Spanned<SopsValue>>,
    pub(super) roots: Spanned<PathBuf>,
    pub(super) names: Spanned<Vec<Spanned<HostName>>>,
    pub(super) wildcard_probe: Option<bool>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) min_days: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceTable {
    pub(super) url: Option<Spanned<String>>,
    pub(super) status: Option<Spanned<u16>>,
    pub(super) unit: Option<UnitName>,
    pub(super) state: Option<Spanned<UnitState>>,
    pub(super) stack: Option<Name>,
    pub(super) replicas: Option<Spanned<u32>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyTable {
    pub(super) required: Vec<CriterionGlob>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultTable {
    pub(super) name: Name,
    pub(super) stage: FaultStage,
    pub(super) script: Spanned<PathBuf>,
}
