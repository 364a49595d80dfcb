//! Repositories, recipients and keys of a host definition: everything that must never hold a secret itself.

use std::{collections::BTreeMap, ops::Range, path::PathBuf};

use coldproof_evidence::credentials::is_credential;
use toml::{Spanned, Value};
use url::Url;

use super::{
    AgeRecipient, Credentials, HostError, KeyError, KeySource, Name, VariableName,
    definition::{Recipient, Repository, Source},
    document as written,
    key_source::check_file,
    load::Loader,
    values::ValueError,
};

/// Schemes of URLs that git fetches over ssh.
const SSH: [&str; 3] = ["ssh", "git+ssh", "ssh+git"];
/// A blank machine has one secret, and no ssh key is it.
const NO_SSH: &str = "write the repository's https: URL, with `credentials` where it is private; \
    or `git clone --mirror` it, its submodules beside it, and write the path";

impl Loader<'_> {
    pub(super) fn source(&self, source: written::SourceTable) -> Result<Source, HostError> {
        let repository = self.repository(&source.url)?;
        let credentials = source.credentials.map(|held| self.credentials(held, &repository)).transpose()?;
        Ok(Source {
            repository,
            revision: source.revision,
            tree: source.tree.map(|tree| self.existing(&tree, "the operator's checkout")).transpose()?,
            private: source.private,
            credentials,
            pins: source.pins,
        })
    }

    /// A text without a scheme, or a `file:` URL, is a directory of the controller.
    fn repository(&self, written: &Spanned<String>) -> Result<Repository, HostError> {
        let refused = |problem: String, remedy: &str| self.document.error(written.span(), problem, remedy);
        let text = written.get_ref();
        let url = match Url::parse(text) {
            Ok(url) if !SSH.contains(&url.scheme()) => url,
            Ok(_) => return Err(refused("a repository is not fetched over ssh here".to_owned(), NO_SSH)),
            // git's own short form, `git@host:path`, has no directory before its colon.
            Err(_) if text.split('/').next().is_some_and(|first| first.contains(['@', ':'])) => {
                return Err(refused("this is git's short form for ssh".to_owned(), NO_SSH));
            }
            Err(url::ParseError::RelativeUrlWithoutBase) => {
                return self.local_repository(written, PathBuf::from(text));
            }
            Err(error) => {
                return Err(refused(format!("this is no URL: {error}"), "write a path, or an http: or https: URL"));
            }
        };
        match url.scheme() {
            "http" | "https" if !url.username().is_empty() || url.password().is_some() => Err(refused(
                "there is a credential in the URL".to_owned(),
                "take it out, replace it, since it is no longer secret, and name where it is held under `credentials`",
            )),
            "http" | "https" => Ok(Repository::Http(url)),
            "file" => match url.to_file_path() {
                Ok(path) => self.local_repository(written, path),
                Err(()) => Err(refused("this names another machine's file".to_owned(), "write `file:///…`")),
            },
            scheme => Err(refused(
                format!("`{scheme}:` is no way to fetch a repository here"),
                "write a path, or an http: or https: URL",
            )),
        }
    }

    fn local_repository(&self, written: &Spanned<String>, path: PathBuf) -> Result<Repository, HostError> {
        let path = self.existing(&Spanned::new(written.span(), path), "a git repository")?;
        if !path.join("HEAD").is_file() && !path.join(".git").exists() {
            return Err(self.document.error(
                written.span(),
                format!("{} is no git repository", path.display()),
                "name a git repository, relative to the directory of the host definition, or make this one with `git init`",
            ));
        }
        Ok(Repository::Local { path, declared: written.get_ref().clone() })
    }

    pub(super) fn recipients(
        &self,
        tables: BTreeMap<Name, Spanned<written::RecipientTable>>,
    ) -> Result<BTreeMap<Name, Recipient>, HostError> {
        let mut recipients: BTreeMap<Name, Recipient> = BTreeMap::new();
        for (name, table) in tables {
            let span = table.span();
            let recipient = self.recipient(table)?;
            if let Some((other, _)) = recipients.iter().find(|(_, known)| known.age == recipient.age) {
                return Err(self.document.error(
                    span,
                    format!("recipients `{other}` and `{name}` are the same"),
                    "declare each recipient once",
                ));
            }
            recipients.insert(name, recipient);
        }
        Ok(recipients)
    }

    fn recipient(&self, table: Spanned<written::RecipientTable>) -> Result<Recipient, HostError> {
        let span = table.span();
        let table = table.into_inner();
        let key = table.key.map(|key| self.key(key)).transpose()?;
        match (table.age, table.ssh) {
            (Some(age), None) => Ok(Recipient { age, ssh: false, key }),
            (None, Some(ssh)) => {
                let age =
                    AgeRecipient::of_ssh(ssh.get_ref()).map_err(|error| self.document.invalid(ssh.span(), error))?;
                Ok(Recipient { age, ssh: true, key })
            }
            _ => Err(self.document.error(
                span,
                "a recipient is declared by its age form or by its ssh key",
                "give it either `age = \"age1…\"` or `ssh = \"ssh-ed25519 …\"`",
            )),
        }
    }

    /// Where a private key is held.
    pub(super) fn key(&self, written: written::Opaque) -> Result<KeySource, HostError> {
        const FORMS: &str =
            "write { file = \"PATH\" }, { env = \"NAME\" } or { command = [\"PROGRAM\", …] }, never the key itself";
        let span = written.span();
        match held(written.into_inner()) {
            Some((how, Value::String(path))) if how == "file" && !is_secret(&path) => self.key_file(span, path),
            Some((how, Value::String(name))) if how == "env" => self.variable(span, name),
            Some((how, Value::Array(words))) if how == "command" => self.command(span, words, FORMS),
            _ => Err(self.document.error(span, "this does not say where the key is held", FORMS)),
        }
    }

    fn credentials(&self, written: written::Opaque, repository: &Repository) -> Result<Credentials, HostError> {
        const FORMS: &str = "write { header-env = \"NAME\" } or { file = \"PATH\" }, never the credential itself";
        let span = written.span();
        if matches!(repository, Repository::Local { .. }) {
            return Err(self.document.error(
                span,
                "a repository of this computer takes no credentials",
                "leave `credentials` out: coldproof makes one of its own where `private = true`",
            ));
        }
        let source = match held(written.into_inner()) {
            Some((how, Value::String(path))) if how == "file" && !is_secret(&path) => self.key_file(span, path),
            Some((how, Value::String(name))) if how == "header-env" => self.variable(span, name),
            _ => Err(self.document.error(span, "this does not say where the credential is held", FORMS)),
        };
        source.map(Credentials)
    }

    pub(super) fn key_file(&self, span: Range<usize>, path: String) -> Result<KeySource, HostError> {
        let path = self.base.join(path);
        match check_file(&path) {
            Ok(()) => Ok(KeySource::File(path)),
            Err(KeyError::TooOpen { mode, .. }) => Err(self.document.error(
                span,
                format!("key file {} has mode {mode:04o}, so that others may read it", path.display()),
                format!("run `chmod 600 {}`", path.display()),
            )),
            Err(_) => Err(self.document.error(
                span,
                format!("there is no key file {}", path.display()),
                "put the key there, or name the file that holds it; leave the key of a recipient out if nobody here has it",
            )),
        }
    }

    fn variable(&self, span: Range<usize>, name: String) -> Result<KeySource, HostError> {
        let name = VariableName::try_from(name).map_err(|error: ValueError| self.document.invalid(span, error))?;
        Ok(KeySource::Env(name.to_string()))
    }

    fn command(&self, span: Range<usize>, words: Vec<Value>, forms: &str) -> Result<KeySource, HostError> {
        let words: Option<Vec<String>> = words
            .into_iter()
            .map(|word| match word {
                Value::String(word) => Some(word),
                _ => None,
            })
            .collect();
        match words {
            Some(argv) if argv.first().is_some_and(|program| !program.is_empty()) => Ok(KeySource::Command(argv)),
            _ => Err(self.document.error(span, "a command is a program and its arguments", forms)),
        }
    }
}

/// The one entry of `{ how = place }`.
fn held(value: Value) -> Option<(String, Value)> {
    match value {
        Value::Table(table) if table.len() == 1 => table.into_iter().next(),
        _ => None,
    }
}

/// Whether a secret was written where a place belongs; then nothing of it may be shown.
fn is_secret(text: &str) -> bool {
    text.contains('\n') || is_credential("", text)
}
