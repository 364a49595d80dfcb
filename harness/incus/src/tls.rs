//! Who we are to the server, and how we know the server.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::SystemTime};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::{
    error::IncusError,
    server::{Server, ServerTrust},
};

/// The client's side of every connection.
pub(crate) struct Identity {
    pub(crate) tls: Arc<ClientConfig>,
    /// SHA-256 of the client certificate's DER, in hexadecimal.
    pub(crate) fingerprint: String,
    not_after: x509_parser::time::ASN1Time,
}

impl Identity {
    pub(crate) fn load(server: &Server) -> Result<Self, IncusError> {
        let chain = certificates("certificate", &server.certificate)?;
        let leaf = chain.first().ok_or_else(|| unusable("certificate", &server.certificate, "it holds none"))?;
        let not_after = X509Certificate::from_der(leaf)
            .map(|(_, certificate)| certificate.validity().not_after)
            .map_err(|error| unusable("certificate", &server.certificate, error))?;
        let fingerprint = hex::encode(Sha256::digest(leaf));
        let key = private_key(&server.key)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(&server.trust, &provider)?;
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("key", &server.key, error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable("key", &server.key, error))?;
        // Left to choose, the server takes HTTP/2, where a websocket cannot be opened.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { tls: Arc::new(tls), fingerprint, not_after })
    }

    /// When the certificate ran out, if it has.
    pub(crate) fn expired(&self) -> Option<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let expired = u64::try_from(self.not_after.timestamp()).map_or(true, |end| end < now);
        expired.then(|| self.not_after.to_string())
    }
}

fn unusable(setting: &'static str, path: &Path, reason: impl std::fmt::Display) -> IncusError {
    IncusError::Setting {
        setting,
        problem: format!("{}: {reason}", path.display()),
        remedy: "name a readable PEM file (docs/incus.md says how to make one)".to_owned(),
    }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, IncusError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unusable(setting, path, error))?;
    read.collect::<Result<_, _>>().map_err(|error| unusable(setting, path, error))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, IncusError> {
    let read = || -> io::Result<(u32, Zeroizing<Vec<u8>>)> {
        Ok((fs::metadata(path)?.permissions().mode(), fs::read(path)?.into()))
    };
    let (mode, pem) = read().map_err(|error| unusable("key", path, error))?;
    if mode & 0o077 != 0 {
        return Err(IncusError::Setting {
            setting: "key",
            problem: format!("{} can be read by others (mode {:04o})", path.display(), mode & 0o7777),
            remedy: format!("run chmod 600 {}", path.display()),
        });
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| unusable("key", path, error))
}

fn verifier(trust: &ServerTrust, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, IncusError> {
    match trust {
        ServerTrust::Fingerprint(text) => Ok(Arc::new(Pinned::parse(text, provider.clone())?)),
        ServerTrust::Authority(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("authority", path)? {
                roots.add(certificate).map_err(|error| unusable("authority", path, error))?;
            }
            let built = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build();
            Ok(built.map_err(|error| unusable("authority", path, error))?)
        }
    }
}

/// Takes one certificate and no other. An Incus server signs its own, for no name in particular,
/// so neither name nor validity is looked at; the peer has to own the key all the same.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    provider: Arc<CryptoProvider>,
}

/// The server's certificate is not the pinned one.
#[derive(Debug, thiserror::Error)]
#[error("its certificate has the SHA-256 {got}, and {expected} is expected")]
struct PinMismatch {
    expected: String,
    got: String,
}

impl Pinned {
    fn parse(text: &str, provider: Arc<CryptoProvider>) -> Result<Self, IncusError> {
        let mut fingerprint = [0; 32];
        hex::decode_to_slice(text.replace(':', ""), &mut fingerprint).map_err(|error| IncusError::Setting {
            setting: "fingerprint",
            problem: format!("`{text}` is no SHA-256 ({error})"),
            remedy: "write the 64 hexadecimal digits of `certificate_fingerprint` from `incus info`".to_owned(),
        })?;
        Ok(Self { fingerprint, provider })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let got = Sha256::digest(end_entity);
        if got[..] == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        let mismatch = PinMismatch { expected: hex::encode(self.fingerprint), got: hex::encode(got) };
        Err(CertificateError::Other(OtherError(Arc::new(mismatch))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Why a handshake failed, if it was the server's certificate.
pub(crate) fn server_refused(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::Other(other)) => Some(other.0.to_string()),
        error @ Error::InvalidCertificate(_) => Some(error.to_string()),
        _ => None,
    }
}
