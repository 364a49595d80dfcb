//! A certificate authority of two levels, and the wildcard leaf that it issues.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use zeroize::Zeroizing;

const DAY: Duration = Duration::from_hours(24);
/// How long a leaf is valid, as public authorities have it.
const LEAF_DAYS: u32 = 90;
const AUTHORITY_DAYS: u32 = 3650;

/// A root and the intermediate that issues leaves.
pub(crate) struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// A PEM private key.
pub(crate) type PemKey = Zeroizing<String>;

impl Authority {
    pub(crate) fn generate() -> Result<Self> {
        let root = CertifiedIssuer::self_signed(authority("Coldproof reference root", 1), KeyPair::generate()?)?;
        let intermediate =
            CertifiedIssuer::signed_by(authority("Coldproof reference intermediate", 0), KeyPair::generate()?, &root)?;
        Ok(Self { root, intermediate })
    }

    /// The root certificate, in PEM.
    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// The intermediate certificate, in PEM.
    pub(crate) fn intermediate_pem(&self) -> String {
        self.intermediate.pem()
    }

    /// The private keys of root and intermediate.
    pub(crate) fn keys(&self) -> (PemKey, PemKey) {
        (Zeroizing::new(self.root.key().serialize_pem()), Zeroizing::new(self.intermediate.key().serialize_pem()))
    }

    /// Issues a leaf for `names` that became valid `age_days` ago. PEM, without the intermediate.
    pub(crate) fn issue(&self, names: &[&str], key: &KeyPair, age_days: u32) -> Result<String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = (SystemTime::now() - DAY * age_days).into();
        params.not_after = (SystemTime::now() + DAY * (LEAF_DAYS - age_days)).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf: Certificate = params.signed_by(key, &self.intermediate)?;
        Ok(leaf.pem())
    }
}

fn authority(name: &str, path_length: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // The clock of a guest may lag behind the controller's.
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + DAY * AUTHORITY_DAYS).into();
    params
}
