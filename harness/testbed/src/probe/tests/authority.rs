//! A root, an intermediate and leaves.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Names that every leaf is made out to.
const NAMES: [&str; 2] = ["ci.example.test", "*.ci.example.test"];

/// How long a certificate is valid.
#[derive(Clone, Copy)]
pub(super) enum Validity {
    Current,
    Past,
}

/// A root and the intermediate that it signed.
pub(super) struct Authority {
    pub(super) root: CertificateDer<'static>,
    pub(super) intermediate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new(intermediate: Validity) -> Self {
        // Two authorities differ in name as well as in key.
        let root = parameters(&format!("root {:016x}", rand::random::<u64>()), Validity::Current);
        let root_key = KeyPair::generate().unwrap();
        let root_certificate = root.self_signed(&root_key).unwrap();
        let params = parameters("intermediate", intermediate);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
        Self {
            root: root_certificate.der().clone(),
            intermediate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(super) fn leaf(&self, validity: Validity) -> Leaf {
        let mut params = CertificateParams::new(NAMES.map(str::to_owned)).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        expire(&mut params, validity);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { certificate: certificate.der().clone(), key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }
}

fn parameters(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    expire(&mut params, validity);
    params
}

fn expire(params: &mut CertificateParams, validity: Validity) {
    if matches!(validity, Validity::Past) {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    }
}

/// A leaf and its key.
pub(super) struct Leaf {
    pub(super) certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Leaf {
    /// A server that serves this leaf and `intermediate`.
    pub(super) fn serve(&self, intermediate: Option<&CertificateDer<'static>>) -> ServerConfig {
        self.serve_as(&self.certificate, intermediate)
    }

    /// A server that serves `leaf`, whose key it need not have, and signs with this one's.
    pub(super) fn serve_as(
        &self,
        leaf: &CertificateDer<'static>,
        intermediate: Option<&CertificateDer<'static>>,
    ) -> ServerConfig {
        let crypto = Arc::new(ring::default_provider());
        let key = crypto.key_provider.load_private_key(self.key.clone_key()).unwrap();
        let chain = std::iter::once(leaf).chain(intermediate).cloned().collect();
        ServerConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Always(Arc::new(CertifiedKey::new(chain, key)))))
    }
}

/// Serves one certificate whatever is asked for, and whether or not the key fits.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}
