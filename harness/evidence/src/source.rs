//! What was seen of the repositories and of the sops files in them, without any machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A fresh recursive clone, made by the controller with the declared credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceObservation {
    /// The superproject (path `.`) and each submodule, recursively.
    pub repositories: Vec<RepositoryObservation>,
    /// What looks like a credential in the fresh clone or the operator's tree.
    pub credentials: Vec<CredentialSighting>,
    /// The operator's own tree, where declared.
    pub tree: Option<TreeObservation>,
}

/// One repository of the fresh clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryObservation {
    /// Path in the superproject; `.` for itself.
    pub path: String,
    /// The URL that it was cloned from, without any credential.
    pub url: String,
    /// The commit that is checked out.
    pub head: String,
    /// For the superproject: the commit the declared revision names on the remote. For a submodule: its committed gitlink.
    pub stated: String,
    /// The branch whose tip counts (`branch` of .gitmodules, else the remote's HEAD), and that tip on the remote.
    pub branch: String,
    /// The branch's tip on the remote when it was cloned.
    pub tip: String,
    /// Output lines of `git status --porcelain --ignored` (empty when clean).
    pub status: Vec<String>,
    /// Files git tracks that are missing in the checkout.
    pub missing: Vec<String>,
    /// What became of reading it without credentials.
    pub anonymous: AnonymousAccess,
}

/// What became of `git ls-remote` without credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnonymousAccess {
    /// Not tried.
    #[default]
    NotTried,
    /// Refused, with git's words.
    Refused(String),
    /// It answered: the repository is public.
    Granted,
    /// Neither: no answer could be had.
    Failed(String),
}

/// Something that looks like a credential where none may be. The credential itself is never recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialSighting {
    /// Which tree: `clone`, `tree` or `guest`.
    pub tree: String,
    /// The file, relative to that tree, for instance `.git/config`.
    pub file: String,
    /// Line number, from 1.
    pub line: usize,
    /// What kind: `url-userinfo`, `extra-header`, `token`…
    pub kind: String,
}

/// The operator's own checkout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeObservation {
    /// Where it is.
    pub path: String,
    /// Path in the superproject (`.` for itself) to the commit checked out there.
    pub heads: BTreeMap<String, String>,
    /// Lines of `git status --porcelain` over it and its submodules, each prefixed by the repository's path.
    pub status: Vec<String>,
}

/// What was seen of the sops files in the fresh clone, and of decrypting them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SopsObservation {
    /// Each declared sops file.
    pub files: Vec<SopsFileObservation>,
    /// Certificates in git that the host definition names for TLS.
    pub certificate: Option<CommittedCertificate>,
}

/// One sops file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SopsFileObservation {
    /// Path in the repository.
    pub path: String,
    /// Every leaf value's key path (joined by `.`) and whether it is encrypted. An empty value counts as encrypted only if sops enciphered it.
    pub values: BTreeMap<String, bool>,
    /// age recipients named in the file's metadata.
    pub recipients: Vec<String>,
    /// Recipients of another kind (pgp, kms…) named in the metadata, as `kind:id`.
    pub other_recipients: Vec<String>,
    /// Whether its message authentication code verifies: `Ok` or sops' own words.
    pub mac: Result<(), String>,
    /// What each held key, alone, decrypts: recipient's name to the result.
    pub decryptions: BTreeMap<String, Decryption>,
}

/// Decrypting one file with one key alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decryption {
    /// Each value's key to the HMAC-SHA-256 (hex) of its bytes, under a random key of this run that is never recorded.
    Values(BTreeMap<String, String>),
    /// sops' exit code and words.
    Failed(String),
}

/// The certificate that git holds for TLS, and its key's public half.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedCertificate {
    /// PEM certificates in the committed value, in order: lower-case hex of the DER.
    pub chain_der: Vec<String>,
    /// SHA-256 (hex) of the leaf's SubjectPublicKeyInfo (DER).
    pub leaf_spki_sha256: String,
    /// SHA-256 (hex) of the SubjectPublicKeyInfo that belongs to the committed private key, if one is declared and readable.
    pub key_spki_sha256: Option<String>,
    /// Root certificates declared, lower-case hex of the DER.
    pub roots_der: Vec<String>,
}
