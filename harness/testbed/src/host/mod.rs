//! The host definition, `coldproof.toml`: what somebody claims about a host.
//!
//! [`HostDefinition::load`] parses it once; what it returns is valid, so that nobody has to check again.

mod definition;
mod diagnostic;
mod document;
mod expectations;
mod explain;
mod key_source;
mod load;
mod load_image;
mod load_incus;
mod load_original;
mod load_services;
mod load_source;
mod paths;
mod references;
mod ssh_recipient;
mod values;

#[cfg(test)]
mod tests;

pub use definition::{
    Bootstrap, Fault, FaultStage, Host, HostDefinition, Machine, Original, Provider, Recipient, Repository, Secret,
    Service, Shared, SopsValue, Source, Tls, UnitState, Waiver,
};
pub use diagnostic::{Diagnostic, HostError};
pub use key_source::{Credentials, KeyError, KeySource};
pub use paths::{GuestPath, RepositoryPath, StorePath};
pub use references::{
    AgeRecipient, Commit, CriterionGlob, Destination, HostName, Revision, SharedGlob, UnitName, Waived,
};
pub use values::{FileMode, Name, PackageName, Program, Size, Span, ValueError, VariableName};
