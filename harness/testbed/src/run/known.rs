//! The secrets of a run that are known to it, and looking for them in everything that it is about to hand on.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use coldproof_evidence::{
    Observed,
    leaks::{LeakSighting, LeaksObservation},
};
use coldproof_leaks::{Hit, LeaksRequest, Matcher, Secret};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use zeroize::Zeroizing;

use super::RunError;
use crate::{
    host::{HostDefinition, SopsValue},
    sops::{CommittedValue, recipients},
};

/// What findings call places on this side.
const SURFACE: &str = "harness";
/// Where sops-nix puts a secret that states no path of its own.
const RUN_SECRETS: &str = "/run/secrets";

/// Everything that must be found nowhere but in its own file.
pub(super) struct KnownSecrets {
    secrets: Vec<Secret>,
    names: Vec<String>,
    matcher: Matcher,
}

impl KnownSecrets {
    /// The bootstrap key, the git credential's value, and what the sops files hold.
    pub(super) fn new(
        host: &HostDefinition,
        key: &Zeroizing<String>,
        credential: Option<Zeroizing<Vec<u8>>>,
        committed: Vec<CommittedValue>,
    ) -> Result<Self, RunError> {
        let mut secrets = bootstrap_key(host, key)?;
        secrets.extend(credential.iter().flat_map(git_credential));
        secrets.extend(committed.into_iter().map(|value| sops_value(host, value)));
        let matcher = Matcher::new(&secrets)?;
        Ok(Self { names: secrets.iter().map(|secret| secret.name.clone()).collect(), secrets, matcher })
    }

    /// What the observer is asked to look for.
    pub(super) fn request(&self) -> LeaksRequest {
        LeaksRequest { secrets: self.secrets.clone() }
    }

    /// One line without the secrets in it.
    pub(super) fn clean_line(&self, line: &str) -> Option<String> {
        self.matcher.redacted(line, &self.names).map(|(clean, _)| clean)
    }

    /// A search on this side that has found nothing yet.
    pub(super) fn search(&self) -> OwnSearch<'_> {
        let found = LeaksObservation {
            searched: self.matcher.searched().to_vec(),
            unscannable: self.matcher.unscannable().to_vec(),
            surfaces: [(SURFACE.to_owned(), Default::default())].into(),
            ..LeaksObservation::default()
        };
        OwnSearch { known: self, found }
    }
}

fn bootstrap_key(host: &HostDefinition, key: &Zeroizing<String>) -> Result<Vec<Secret>, RunError> {
    let secret = |value| Secret {
        name: "age key".to_owned(),
        value,
        files: vec![host.bootstrap.path.to_string()],
        public: false,
    };
    // Of age's own format the identity alone is secret; an SSH key is one in both of its forms.
    let identity = recipients::identity_in(key).map_err(RunError::BootstrapKey)?;
    let mut secrets = vec![secret(identity)];
    if key.contains("PRIVATE KEY-----") {
        secrets.push(secret(key.clone()));
    }
    Ok(secrets)
}

/// The value of the header, and the password in it where it is of the Basic scheme (RFC 7617).
fn git_credential(value: &Zeroizing<Vec<u8>>) -> Vec<Secret> {
    let secret = |name: &str, text: &str| Secret {
        name: name.to_owned(),
        value: Zeroizing::new(text.to_owned()),
        ..Secret::default()
    };
    let text = String::from_utf8_lossy(value);
    let decoded = BASE64_STANDARD.decode(text.as_bytes()).map(Zeroizing::new).unwrap_or_default();
    let password = std::str::from_utf8(&decoded).ok().and_then(|pair| pair.split_once(':'));
    let password = password.map(|(_, password)| secret("git password", password));
    [secret("git credential", &text)].into_iter().chain(password).collect()
}

/// A value of git with what the host definition says of it.
fn sops_value(host: &HostDefinition, committed: CommittedValue) -> Secret {
    let CommittedValue { file, key, value } = committed;
    // sops-nix writes nested keys with `/`, sops with `.`.
    let is_it = |of_file: &str, of_key: &str| of_file == file && of_key.replace('/', ".") == key;
    let served = |tls: &SopsValue| is_it(tls.sops_file.as_str(), &tls.key);
    let declared: Vec<_> =
        host.secrets.iter().filter(|(_, secret)| is_it(secret.sops_file.as_str(), &secret.sops_key)).collect();
    let mut files: Vec<_> = declared.iter().map(|(_, secret)| secret.path.to_string()).collect();
    if files.is_empty() {
        // The configuration may still place it, which is for coverage.complete to tell.
        files.push(format!("{RUN_SECRETS}/{}", key.replace('.', "/")));
    }
    Secret {
        name: declared.first().map_or_else(|| format!("{file}#{key}"), |(name, _)| (*name).clone()),
        value,
        files,
        public: declared.iter().any(|(_, secret)| secret.public)
            || host.tls.as_ref().is_some_and(|tls| served(&tls.certificate)),
    }
}

/// Looks through what the run itself wrote down or was told, and takes out what it finds.
pub(super) struct OwnSearch<'k> {
    known: &'k KnownSecrets,
    found: LeaksObservation,
}

impl OwnSearch<'_> {
    /// Everything that was found.
    pub(super) fn into_observation(self) -> LeaksObservation {
        self.found
    }

    /// Looks through words that cannot be changed any more, such as a command line.
    pub(super) fn words<'w>(&mut self, place: &str, words: impl IntoIterator<Item = &'w str>) {
        let joined = Zeroizing::new(words.into_iter().collect::<Vec<_>>().join("\0"));
        let mut scanner = self.known.matcher.scanner();
        scanner.push(joined.as_bytes());
        self.looked(place, joined.len() as u64, &scanner.finish());
    }

    /// Takes secrets out of an observation; its digest becomes that of what is left.
    pub(super) fn clean<T: Serialize + DeserializeOwned>(&mut self, what: &str, observed: &mut Observed<T>) {
        match observed {
            Observed::NotObserved => {}
            Observed::Unavailable { cause } => self.clean_text(what, cause),
            Observed::Facts { facts, .. } => {
                if let Some(clean) = self.cleaned(what, facts) {
                    *observed = Observed::of(clean);
                }
            }
        }
    }

    /// The same without secrets; none if there are none.
    pub(super) fn cleaned<T: Serialize + DeserializeOwned>(&mut self, what: &str, facts: &T) -> Option<T> {
        let mut value = serde_json::to_value(facts).ok()?;
        let (mut bytes, mut hits) = (0, Vec::new());
        self.clean_value(&mut value, &mut bytes, &mut hits);
        self.looked(&format!("record: {what}"), bytes, &hits);
        if hits.is_empty() { None } else { serde_json::from_value(value).ok() }
    }

    fn clean_text(&mut self, what: &str, text: &mut String) {
        let clean = self.known.matcher.redacted(text, &self.known.names);
        let (clean, hits) = clean.map_or((None, Vec::new()), |(clean, hits)| (Some(clean), hits));
        self.looked(&format!("record: {what}"), text.len() as u64, &hits);
        if let Some(clean) = clean {
            *text = clean;
        }
    }

    fn clean_value(&self, value: &mut Value, bytes: &mut u64, hits: &mut Vec<Hit>) {
        match value {
            Value::String(text) => {
                *bytes += text.len() as u64;
                if let Some((clean, found)) = self.known.matcher.redacted(text, &self.known.names) {
                    *text = clean;
                    hits.extend(found);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.clean_value(value, bytes, hits)),
            Value::Object(object) => {
                let entries = std::mem::take(object);
                for (key, mut value) in entries {
                    let mut key = Value::String(key);
                    self.clean_value(&mut key, bytes, hits);
                    self.clean_value(&mut value, bytes, hits);
                    object.insert(key.as_str().unwrap_or_default().to_owned(), value);
                }
            }
            _ => {}
        }
    }

    /// Blanks secrets in every file of a directory. A file that still holds one, compressed or wrapped, is emptied.
    pub(super) fn clean_files(&mut self, files: &[PathBuf]) -> Result<(), RunError> {
        for path in files {
            let at = || RunError::io(format!("looking through {}", path.display()));
            let mut bytes = Zeroizing::new(fs::read(path).map_err(at())?);
            let hits = self.scan(&bytes);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.looked(&format!("attachment {name}"), bytes.len() as u64, &hits);
            if hits.is_empty() {
                continue;
            }
            self.known.matcher.blank(&mut bytes);
            let rest = self.scan(&bytes);
            fs::write(path, if rest.is_empty() { &bytes[..] } else { b"[removed: it held a secret]\n" })
                .map_err(at())?;
        }
        Ok(())
    }

    fn scan(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut scanner = self.known.matcher.scanner();
        scanner.push(bytes);
        scanner.finish()
    }

    fn looked(&mut self, place: &str, bytes: u64, hits: &[Hit]) {
        let scanned = self.found.surfaces.entry(SURFACE.to_owned()).or_default();
        scanned.items += 1;
        scanned.bytes += bytes;
        // The same form in many lines of one observation is one thing to mend.
        let mut first: BTreeMap<(String, String), u64> = BTreeMap::new();
        for hit in hits {
            let secret = hit.secrets.first().and_then(|&secret| self.known.names.get(secret)).cloned();
            first.entry((secret.unwrap_or_default(), hit.form())).or_insert(hit.offset);
        }
        self.found.sightings.extend(first.into_iter().map(|((secret, form), offset)| LeakSighting {
            surface: SURFACE.to_owned(),
            place: place.to_owned(),
            offset,
            secret,
            form,
        }));
    }
}

/// The files of a directory, which has no others below it.
pub(super) fn files_in(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let entries = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    entries.map_err(RunError::io("reading the attachments"))
}
