//! Which server, as which client, by which way.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::IncusError;

/// The port that Incus listens on unless told otherwise.
const DEFAULT_PORT: u16 = 8443;

/// An Incus server and how to reach it. It holds paths of key files and no key, so it may be
/// written to the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// `https://host[:port]`; the port is 8443 where none is named.
    pub url: Url,
    /// The project that every instance of ours is in.
    pub project: String,
    /// The client's certificate (PEM).
    pub certificate: PathBuf,
    /// The certificate's private key (PEM), readable by its owner only.
    pub key: PathBuf,
    /// How the server is known to be the one that is meant.
    pub trust: ServerTrust,
    /// A SOCKS5 proxy that also resolves the server's name: `socks5h://host:port`.
    pub proxy: Option<Url>,
}

/// How a server is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerTrust {
    /// SHA-256 of its certificate's DER in hexadecimal, as `incus info` shows it.
    Fingerprint(String),
    /// A file (PEM) with the authorities that its certificate leads to.
    Authority(PathBuf),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Server {
    /// Looks at both URLs.
    ///
    /// # Errors
    /// [`IncusError::Setting`], which names the one that is wrong.
    pub fn check(&self) -> Result<(), IncusError> {
        self.address()?;
        self.proxy_address().map(drop)
    }

    pub(crate) fn address(&self) -> Result<Address, IncusError> {
        let wanted = "write it as https://host:port";
        address(&self.url, "https", Some(DEFAULT_PORT)).ok_or_else(|| wrong("url", &self.url, wanted))
    }

    pub(crate) fn proxy_address(&self) -> Result<Option<Address>, IncusError> {
        let wanted = "write it as socks5h://host:port, without a password: a host definition holds no credential";
        let parse = |proxy: &Url| address(proxy, "socks5h", None).ok_or_else(|| wrong("proxy", proxy, wanted));
        self.proxy.as_ref().map(parse).transpose()
    }
}

fn address(url: &Url, scheme: &str, default_port: Option<u16>) -> Option<Address> {
    let plain = url.scheme() == scheme && url.username().is_empty() && url.password().is_none();
    // An address of IP version 6 is bracketed in a URL, and nowhere else.
    let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
    // 443 is no port that anybody left out: `url` drops it as the scheme's own.
    let port = if url.as_str().starts_with("https://") && url.port().is_none() { default_port } else { url.port() };
    plain.then_some(Address { host, port: port? })
}

fn wrong(setting: &'static str, url: &Url, remedy: &str) -> IncusError {
    let mut shown = url.clone();
    // What stands in place of a password may be one.
    let _ = shown.set_password(None);
    IncusError::Setting { setting, problem: format!("`{shown}` is not usable"), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn server(url: &str, proxy: Option<&str>) -> Server {
        Server {
            url: url.parse().unwrap(),
            project: "p".into(),
            certificate: "c".into(),
            key: "k".into(),
            trust: ServerTrust::Fingerprint("f".into()),
            proxy: proxy.map(|proxy| proxy.parse().unwrap()),
        }
    }

    #[rstest]
    #[case("https://incus.test", "incus.test", 8443)]
    #[case("https://incus.test:9443/", "incus.test", 9443)]
    #[case("https://[::1]:1", "::1", 1)]
    fn addresses(#[case] url: &str, #[case] host: &str, #[case] port: u16) {
        assert_eq!(server(url, None).address().unwrap(), Address { host: host.into(), port });
    }

    #[rstest]
    #[case("http://incus.test", None)]
    #[case("https://me@incus.test", None)]
    #[case("https://incus.test", Some("socks5://127.0.0.1:1080"))]
    #[case("https://incus.test", Some("socks5h://me:hunter2@127.0.0.1:1080"))]
    #[case("https://incus.test", Some("socks5h://127.0.0.1"))]
    fn refused(#[case] url: &str, #[case] proxy: Option<&str>) {
        let server = server(url, proxy);
        let error = server.address().map(drop).and_then(|()| server.proxy_address().map(drop)).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
