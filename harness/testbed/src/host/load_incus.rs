//! The Incus server in a host definition: what can be told without asking it.

use std::{fs, path::PathBuf};

use coldproof_evidence::credentials::sightings;
use coldproof_incus::{
    error::IncusError,
    instance::InstanceType,
    provider::Settings,
    server::{Server, ServerTrust},
};
use toml::Spanned;
use url::Url;

use super::{HostError, KeySource, document::IncusTable, load::Loader};

impl Loader<'_> {
    pub(super) fn incus(&self, written: Spanned<IncusTable>) -> Result<Settings, HostError> {
        let span = written.span();
        let written = written.into_inner();
        if written.r#type == InstanceType::VirtualMachine && written.image.is_none() {
            return Err(self.document.error(
                span,
                "virtual machines without an image",
                "add `image`, an alias or fingerprint on the server, or write `type = \"container\"`, which needs none",
            ));
        }
        let (url, proxy) = (written.url.span(), written.proxy.as_ref().map(Spanned::span));
        let server = Server {
            trust: self.trust(span, written.fingerprint, written.authority)?,
            url: self.url(&written.url)?,
            project: written.project.to_string(),
            certificate: self.existing(&written.certificate, "the client's certificate (PEM)")?,
            key: match self.key_file(written.key.span(), written.key.into_inner())? {
                KeySource::File(key) => key,
                KeySource::Env(_) | KeySource::Command(_) => unreachable!("a key file is a file"),
            },
            proxy: written.proxy.as_ref().map(|proxy| self.url(proxy)).transpose()?,
        };
        match server.check() {
            Ok(()) => {}
            Err(IncusError::Setting { setting: "proxy", problem, remedy }) => {
                return Err(self.document.error(proxy.unwrap_or(url), problem, remedy));
            }
            Err(IncusError::Setting { problem, remedy, .. }) => return Err(self.document.error(url, problem, remedy)),
            Err(other) => return Err(self.document.error(url, other.to_string(), "correct it")),
        }
        Ok(Settings {
            server,
            kind: written.r#type,
            image: written.image.map(|image| image.to_string()),
            user_data: written.user_data.as_ref().map(|file| self.user_data(file)).transpose()?,
            pool: written.pool.map(|pool| pool.to_string()),
            budget: written.budget.map(super::Size::bytes),
        })
    }

    fn url(&self, written: &Spanned<String>) -> Result<Url, HostError> {
        // The text is not repeated: a password may be in it.
        let bad =
            |error| self.document.error(written.span(), format!("this is no URL ({error})"), "write https://host:port");
        Url::parse(written.get_ref()).map_err(bad)
    }

    /// Whoever is let into the project can read it, and so can every process of the guest.
    fn user_data(&self, written: &Spanned<PathBuf>) -> Result<String, HostError> {
        let path = self.existing(written, "a file with cloud-init user-data")?;
        let refused = |problem: String, remedy: &str| self.document.error(written.span(), problem, remedy);
        let text = fs::read_to_string(&path)
            .map_err(|error| refused(format!("{}: {error}", path.display()), "name a text file that can be read"))?;
        match sightings("", "", &text).first() {
            None => Ok(text),
            Some(found) => Err(refused(
                format!("line {} of {} looks like a credential ({})", found.line, path.display(), found.kind),
                "leave it out: user-data is no place for a secret, and the bootstrap key is delivered by itself",
            )),
        }
    }

    fn trust(
        &self,
        table: std::ops::Range<usize>,
        fingerprint: Option<Spanned<String>>,
        authority: Option<Spanned<PathBuf>>,
    ) -> Result<ServerTrust, HostError> {
        match (fingerprint, authority) {
            (Some(fingerprint), None) => {
                let text = fingerprint.get_ref();
                if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Ok(ServerTrust::Fingerprint(text.to_ascii_lowercase()));
                }
                Err(self.document.error(
                    fingerprint.span(),
                    "this is no fingerprint of a certificate",
                    "write the 64 hexadecimal digits of `certificate_fingerprint` that `incus info` shows on the server",
                ))
            }
            (None, Some(authority)) => {
                Ok(ServerTrust::Authority(self.existing(&authority, "the authorities' certificates (PEM)")?))
            }
            (None, None) => Err(self.document.error(
                table,
                "nothing says how the server is recognised",
                "add `fingerprint`, which `incus info` shows on the server, or `authority`",
            )),
            (Some(_), Some(authority)) => Err(self.document.error(
                authority.span(),
                "the server is recognised by its fingerprint already",
                "keep one of `fingerprint` and `authority`",
            )),
        }
    }
}
