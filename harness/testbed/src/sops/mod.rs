//! The sops files of the clone: which values are encrypted, for whom, and what each held key alone decrypts.
//!
//! Decrypted values leave this module as keyed hashes, as the certificate that everybody may see, and, to be looked for
//! where they must not be, as values that are wiped when dropped. Only the hashes and the certificate are recorded.

mod certificate;
mod decrypt;
mod error;
mod file;
mod leaves;
pub mod recipients;
#[cfg(test)]
mod tests;
mod without;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use coldproof_evidence::source::{CommittedCertificate, Decryption, SopsFileObservation, SopsObservation};
use coldproof_machines::mark::Mark;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

pub use error::SopsError;
pub use without::Without;

use self::{
    decrypt::{Decrypted, Sops},
    file::{Committed, Format},
};
use crate::{
    host::{RepositoryPath, SopsValue, Tls},
    memory_file::MemoryFile,
    source::Clone,
};

/// A private key that the controller holds.
#[derive(Debug)]
pub struct HeldKey {
    /// The recipient's name in the host definition.
    pub name: String,
    /// The text of its key file: an age identity or an OpenSSH private key.
    pub identity: Zeroizing<String>,
}

/// What is asked about the sops files.
#[derive(Debug)]
pub struct SopsRequest<'a> {
    /// The sops program.
    pub sops: PathBuf,
    /// The files, relative to the clone's root.
    pub files: &'a [RepositoryPath],
    /// Every key that is held.
    pub held: Vec<HeldKey>,
    /// Key of the hashes by which values are compared.
    pub hmac_key: &'a [u8; 32],
    /// What is declared about TLS.
    pub tls: Option<&'a Tls>,
    /// Whose processes sops' are.
    pub mark: Mark,
}

/// One value that was encrypted in git. It is wiped when dropped and never printed.
pub struct CommittedValue {
    /// The sops file, relative to the clone's root.
    pub file: String,
    /// Its key there; nested ones are joined by dots.
    pub key: String,
    /// The value.
    pub value: Zeroizing<String>,
}

impl fmt::Debug for CommittedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommittedValue({}#{})", self.file, self.key)
    }
}

/// What the sops files were found to be, and what they hold.
#[derive(Debug)]
pub struct Opened {
    /// To be recorded.
    pub observation: SopsObservation,
    /// Every value that was encrypted and that some held key decrypts.
    pub values: Vec<CommittedValue>,
}

/// Reads and decrypts the sops files of `clone`.
///
/// # Errors
/// When a declared file is not there, a held key is none, or sops cannot be run. What sops refuses is recorded.
pub async fn observe(clone: &Clone, request: &SopsRequest<'_>) -> Result<Opened, SopsError> {
    let mut keys = Vec::new();
    for held in &request.held {
        let identity = recipients::identity_in(&held.identity)
            .map_err(|source| SopsError::Key { name: held.name.clone(), source })?;
        let file = MemoryFile::new(identity.as_bytes()).map_err(SopsError::io("keeping an age key in memory"))?;
        keys.push((held.name.as_str(), file));
    }

    let mut files = Vec::new();
    let mut documents = BTreeMap::new();
    for name in request.files {
        let path = find(clone.path(), name.as_str())?;
        let mut decrypted = Vec::new();
        for (key, key_file) in &keys {
            let sops = Sops { program: &request.sops, key_file: key_file.path(), mark: &request.mark };
            decrypted.push((*key, sops.decrypt(&path).await?));
        }
        files.push(observed(name.as_str(), &path, &decrypted, request.hmac_key)?);
        let document = decrypted.into_iter().find_map(|(_, decrypted)| decrypted.document.ok());
        documents.extend(document.map(|document| (name.as_str(), document)));
    }
    let certificate = request.tls.map(|tls| committed_certificate(tls, &documents));
    let values = values(&files, &documents);
    Ok(Opened { observation: SopsObservation { files, certificate }, values })
}

/// The values of all documents but those that git has in plain text: `source.secrets-encrypted` tells of them.
fn values(files: &[SopsFileObservation], documents: &BTreeMap<&str, Zeroizing<String>>) -> Vec<CommittedValue> {
    let mut values = Vec::new();
    for file in files {
        let Some(document) = documents.get(file.path.as_str()) else { continue };
        let take = &mut |path: &[String], value: &str| {
            let key = path.join(".");
            if file.values.get(&key) != Some(&false) {
                values.push(CommittedValue { file: file.path.clone(), key, value: Zeroizing::new(value.to_owned()) });
            }
        };
        // What cannot be read is told by the file's own observation.
        let _ = Format::Json.visit(document, take);
    }
    values
}

/// The file, which must be in the clone and not behind a link that leads out of it.
fn find(clone: &Path, name: &str) -> Result<PathBuf, SopsError> {
    let clone = clone.canonicalize().map_err(SopsError::io("reading the clone"))?;
    let path = clone.join(name).canonicalize().ok();
    let path = path.filter(|path| path.starts_with(&clone) && path.is_file());
    path.ok_or_else(|| SopsError::Missing { file: name.to_owned() })
}

fn observed(
    name: &str,
    path: &Path,
    decrypted: &[(&str, Decrypted)],
    hmac_key: &[u8; 32],
) -> Result<SopsFileObservation, SopsError> {
    let bytes = fs::read(path).map_err(SopsError::io(format!("reading {name}")))?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned());
    let committed = text.and_then(|text| Committed::read(Format::of(name), &text));
    let (committed, mac) = match committed {
        Ok(committed) => (committed, mac(decrypted)),
        Err(words) => (Committed::default(), Err(words)),
    };
    let hashed = |document: &Result<Zeroizing<String>, String>| match document {
        Ok(document) => hashes(document, hmac_key),
        Err(words) => Decryption::Failed(words.clone()),
    };
    Ok(SopsFileObservation {
        path: name.to_owned(),
        values: committed.values,
        recipients: committed.recipients,
        other_recipients: committed.others,
        mac,
        decryptions: decrypted.iter().map(|(key, one)| ((*key).to_owned(), hashed(&one.document))).collect(),
    })
}

/// Any key that gets as far as the message authentication code tells; without one nothing is known to be authentic.
fn mac(decrypted: &[(&str, Decrypted)]) -> Result<(), String> {
    let mut told = decrypted.iter().filter_map(|(_, one)| one.mac.as_ref());
    if let Some(verdict) = told.clone().find(|mac| mac.is_err()).or_else(|| told.next()) {
        return verdict.clone();
    }
    let words = decrypted.iter().find_map(|(_, one)| one.document.as_ref().err());
    Err(format!("not verified: {}", words.map_or("no key is held", String::as_str)))
}

fn hashes(document: &str, hmac_key: &[u8; 32]) -> Decryption {
    let mut hashes = BTreeMap::new();
    let visited = Format::Json.visit(document, &mut |path, value| {
        // Any length of key will do for an HMAC, so that this cannot fail.
        if let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(hmac_key) {
            hmac.update(value.as_bytes());
            hashes.insert(path.join("."), hex::encode(hmac.finalize().into_bytes()));
        }
    });
    match visited {
        Ok(()) => Decryption::Values(hashes),
        Err(words) => Decryption::Failed(format!("sops' output cannot be read: {words}")),
    }
}

fn committed_certificate(tls: &Tls, documents: &BTreeMap<&str, Zeroizing<String>>) -> CommittedCertificate {
    let value = |place: &SopsValue| {
        let mut found = None;
        let document = documents.get(place.sops_file.as_str())?;
        let take = &mut |path: &[String], value: &str| {
            if path.join(".") == place.key {
                found = Some(Zeroizing::new(value.to_owned()));
            }
        };
        Format::Json.visit(document, take).ok()?;
        found
    };
    let chain = value(&tls.certificate);
    let key = tls.private_key.as_ref().and_then(value);
    certificate::describe(chain.as_ref().map(|pem| pem.as_str()), key.as_ref().map(|pem| pem.as_str()), &tls.roots)
}
