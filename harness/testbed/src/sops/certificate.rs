//! The certificate that git holds for TLS, and the public half of the key that git holds for it.

use coldproof_evidence::source::CommittedCertificate;
use rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

/// Describes a PEM chain and a PEM private key; what cannot be read is left empty.
pub(crate) fn describe(chain: Option<&str>, key: Option<&str>, roots: &[CertificateDer<'_>]) -> CommittedCertificate {
    let chain: Vec<_> = chain
        .map(|pem| CertificateDer::pem_slice_iter(pem.as_bytes()).map_while(Result::ok).collect())
        .unwrap_or_default();
    CommittedCertificate {
        leaf_spki_sha256: chain.first().and_then(|leaf| leaf_spki(leaf)).unwrap_or_default(),
        key_spki_sha256: key.and_then(key_spki),
        chain_der: chain.iter().map(hex::encode).collect(),
        roots_der: roots.iter().map(hex::encode).collect(),
    }
}

fn leaf_spki(leaf: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    Some(hex::encode(Sha256::digest(certificate.public_key().raw)))
}

/// The public half of an RSA, ECDSA or Ed25519 key in PKCS#8, PKCS#1 or SEC1.
fn key_spki(pem: &str) -> Option<String> {
    let key = Zeroizing::new(PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?);
    let signing = any_supported_type(&key).ok()?;
    Some(hex::encode(Sha256::digest(signing.public_key()?)))
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use rstest::rstest;

    use super::*;

    /// Key and certificate by OpenSSL, so that both halves come from somebody else.
    fn made(key_args: &[&str], traditional: bool) -> (String, String) {
        let dir = tempfile::tempdir().unwrap();
        let openssl = |args: &[&str]| {
            let output = Command::new("openssl").args(args).current_dir(dir.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        openssl(&[&["genpkey", "-out", "key.pem"], key_args].concat());
        openssl(&["req", "-x509", "-new", "-key", "key.pem", "-subj", "/CN=ci.example.test", "-out", "cert.pem"]);
        if traditional {
            openssl(&["pkey", "-in", "key.pem", "-traditional", "-out", "traditional.pem"]);
        }
        let read = |name| fs::read_to_string(dir.path().join(name)).unwrap();
        (read("cert.pem"), read(if traditional { "traditional.pem" } else { "key.pem" }))
    }

    #[rstest]
    #[case::p256(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], false)]
    #[case::p256_sec1(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], true)]
    #[case::p384(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], false)]
    #[case::rsa(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], false)]
    #[case::rsa_pkcs1(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], true)]
    #[case::ed25519(&["-algorithm", "ED25519"], false)]
    fn a_key_and_its_certificate_have_one_public_half(#[case] key_args: &[&str], #[case] traditional: bool) {
        let (certificate, key) = made(key_args, traditional);
        let described = describe(Some(&certificate), Some(&key), &[]);
        assert_eq!(described.chain_der.len(), 1);
        assert_eq!(described.key_spki_sha256.as_ref(), Some(&described.leaf_spki_sha256));
        let (_, another) = made(key_args, traditional);
        assert_ne!(describe(None, Some(&another), &[]).key_spki_sha256, described.key_spki_sha256);
    }

    #[test]
    fn what_is_no_pem_describes_nothing() {
        assert_eq!(describe(Some("none"), Some("none"), &[]), CommittedCertificate::default());
    }
}
