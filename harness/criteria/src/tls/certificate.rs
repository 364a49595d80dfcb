//! What the rules read from a certificate.

use std::net::IpAddr;

use coldproof_evidence::Digest;
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate};

/// The parts of a certificate that rules compare.
pub(crate) struct Certificate {
    /// SHA-256 (hex) of the SubjectPublicKeyInfo's DER.
    pub(crate) spki_sha256: String,
    /// The subjectAltName's DNS names and IP addresses.
    pub(crate) names: Vec<String>,
    /// The first moment at which it is valid: seconds since the epoch, and in words.
    pub(crate) not_before: (i64, String),
    /// The last moment at which it is valid: seconds since the epoch, and in words.
    pub(crate) not_after: (i64, String),
    subject: String,
}

impl Certificate {
    /// Reads lower-case hex of the DER, as observations carry it.
    pub(crate) fn parse(hex_der: &str) -> Option<Self> {
        let der = hex::decode(hex_der).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let san = certificate.subject_alternative_name().ok()?;
        let names = san.map(|extension| extension.value.general_names.iter().filter_map(name).collect());
        let moment = |time: ASN1Time| (time.timestamp(), time.to_string());
        Some(Self {
            not_before: moment(certificate.validity().not_before),
            not_after: moment(certificate.validity().not_after),
            spki_sha256: Digest::of(certificate.public_key().raw).hex(),
            names: names.unwrap_or_default(),
            subject: certificate.subject().to_string(),
        })
    }

    /// Whether the certificate may be presented under `name`. The subject's common name is never looked at.
    pub(crate) fn covers(&self, name: &str) -> bool {
        let is_address = name.parse::<IpAddr>().is_ok();
        self.names.iter().any(|presented| if is_address { presented == name } else { matches(presented, name) })
    }
}

fn name(general: &GeneralName<'_>) -> Option<String> {
    match general {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// RFC 9525, section 6.3: labels compare without regard to ASCII case, and `*` stands for exactly one label, as the
/// whole leftmost one.
fn matches(presented: &str, reference: &str) -> bool {
    let (presented, reference) = (presented.trim_end_matches('.'), reference.trim_end_matches('.'));
    match presented.strip_prefix("*.") {
        Some(parent) => {
            let rest = reference.split_once('.').filter(|(label, _)| !label.is_empty());
            !parent.contains('*') && rest.is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => !presented.is_empty() && !presented.contains('*') && presented.eq_ignore_ascii_case(reference),
    }
}

/// The fingerprint that people compare: SHA-256 of the DER.
pub(crate) fn fingerprint(hex_der: &str) -> String {
    hex::decode(hex_der).map_or_else(|_| "not a certificate".to_owned(), |der| Digest::of(der).to_string())
}

/// The subjects of a chain, leaf first.
pub(crate) fn subjects(chain: &[String]) -> String {
    let subject = |der: &String| Certificate::parse(der).map_or("not a certificate".to_owned(), |read| read.subject);
    chain.iter().map(subject).collect::<Vec<_>>().join(" ← ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::fixtures::certificates::{COMMON_NAME, LEAF, LEAF_SPKI_SHA256};

    #[rstest]
    #[case("ci.example.test", "CI.Example.Test", true)]
    #[case("ci.example.test", "ci.example.test.", true)]
    #[case("*.ci.example.test", "drone.ci.example.test", true)]
    #[case("*.ci.example.test", "ci.example.test", false)]
    #[case("*.ci.example.test", "a.b.ci.example.test", false)]
    #[case("*.ci.example.test", ".ci.example.test", false)]
    #[case("d*.ci.example.test", "drone.ci.example.test", false)]
    #[case("drone.*.example.test", "drone.ci.example.test", false)]
    #[case("*.*.example.test", "drone.ci.example.test", false)]
    #[case("*", "localhost", false)]
    #[case("", "", false)]
    fn names_match_by_rfc_9525(#[case] presented: &str, #[case] reference: &str, #[case] expected: bool) {
        assert_eq!(matches(presented, reference), expected);
    }

    #[test]
    fn a_certificate_is_read() {
        let leaf = Certificate::parse(LEAF.trim()).unwrap();
        assert_eq!(leaf.names, ["ci.example.test", "*.ci.example.test"]);
        assert_eq!(leaf.spki_sha256, LEAF_SPKI_SHA256);
        assert!(leaf.covers("drone.ci.example.test"));
    }

    #[test]
    fn the_common_name_does_not_count() {
        let leaf = Certificate::parse(COMMON_NAME.trim()).unwrap();
        assert_eq!(leaf.subject, "CN=ci.example.test");
        assert!(!leaf.covers("ci.example.test"));
    }

    proptest! {
        #[test]
        fn a_wildcard_covers_one_label_and_no_more(labels in proptest::collection::vec("[a-z0-9]{1,8}", 1..4)) {
            let name = format!("{}.example.test", labels.join("."));
            prop_assert_eq!(matches("*.example.test", &name), labels.len() == 1);
        }

        #[test]
        fn nothing_that_is_served_makes_the_parser_panic(der in proptest::collection::vec(any::<u8>(), 0..200)) {
            let hex_der = hex::encode(&der);
            prop_assert!(Certificate::parse(&hex_der).is_none());
        }
    }
}
