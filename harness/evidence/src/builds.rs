//! What the second machine saw of building itself: the same derivation twice, and the same source named twice.

use serde::{Deserialize, Serialize};

/// Every derivation of the closure that was built on the second machine, built there once more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedBuilds {
    /// One entry a derivation.
    pub derivations: Vec<RepeatedBuild>,
}

/// One derivation that was built twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepeatedBuild {
    /// The derivation's store path.
    pub derivation: String,
    /// Those of its outputs that are in the closure.
    pub outputs: Vec<String>,
    /// How the second build compares with the first.
    pub result: Repeated,
}

/// How a second build compares with the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repeated {
    /// Every output has the same bytes.
    Identical,
    /// An output has other bytes; what Nix says of it.
    Differs(String),
    /// The second build came to no end; what Nix says of it.
    Failed(String),
}

/// The same source under each of its names, evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceForms {
    /// The one that is switched to comes first.
    pub forms: Vec<SourceForm>,
}

/// One name of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceForm {
    /// The scheme by which waivers name it, for instance `path`.
    pub scheme: String,
    /// The flake reference as it was given to Nix.
    pub reference: String,
    /// The toplevel's store path, or what Nix says of an evaluation that failed.
    pub toplevel: Result<String, String>,
}
