//! Which names are asked for: those declared, and one that nobody could have prepared for.

use rustls::pki_types::CertificateDer;
use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer as _, X509Certificate},
};

use crate::host::Tls;

/// A name to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeName {
    /// The name that is sent as SNI.
    pub name: String,
    /// Whether it was made up for this probe.
    pub random: bool,
}

impl ProbeName {
    /// A name that the host definition declares.
    #[must_use]
    pub fn declared(name: impl Into<String>) -> Self {
        Self { name: name.into(), random: false }
    }

    /// A new name under `domain`: 64 random bits, so that no server can have been given a certificate for it.
    #[must_use]
    pub fn random_under(domain: &str) -> Self {
        Self { name: format!("probe-{:016x}.{domain}", rand::random::<u64>()), random: true }
    }
}

/// A new name that nobody can have: `.invalid` is reserved (RFC 6761, section 6.4).
pub(super) fn unknown_name() -> String {
    ProbeName::random_under("invalid").name
}

/// Every name to ask for: the declared ones, and a random one where `wildcard-probe` is set.
///
/// The random name is under the wildcard of the committed leaf. A leaf without a wildcard, or none at all, leaves the
/// first declared name as the domain; what is then served for a name under it is for the criteria to judge.
#[must_use]
pub fn probe_names(tls: &Tls, committed_leaf: Option<&CertificateDer<'_>>) -> Vec<ProbeName> {
    let mut names: Vec<ProbeName> = tls.names.iter().map(|name| ProbeName::declared(name.as_str())).collect();
    if tls.wildcard_probe {
        let wildcard = committed_leaf.and_then(wildcard_domain);
        let domain = wildcard.or_else(|| tls.names.first().map(ToString::to_string));
        names.extend(domain.as_deref().map(ProbeName::random_under));
    }
    names
}

/// The domain of the first wildcard among the leaf's alternative names.
fn wildcard_domain(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let names = leaf.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_prefix("*.").map(str::to_lowercase),
        _ => None,
    })
}
