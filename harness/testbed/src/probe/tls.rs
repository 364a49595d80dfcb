//! What a client is served over TLS, name by name, and whether a path leads from it to the declared roots.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use coldproof_evidence::served::{TlsObservation, TlsProbe};
use rustls::{
    ProtocolVersion,
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{
    ProbeName,
    connect::{connect, connector, in_turn, within},
};

/// Asks `peer` for every name, each within `deadline`. Connects nowhere else.
///
/// Trouble is recorded and not returned: that nobody answers is an observation too.
pub async fn probe(
    peer: SocketAddr,
    names: &[ProbeName],
    roots: &[CertificateDer<'_>],
    deadline: Duration,
) -> TlsObservation {
    let now = UnixTime::since_unix_epoch(SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default());
    let probes = names.iter().map(|name| probe_name(peer, name, roots, now, deadline));
    TlsObservation {
        at_secs: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        probes: in_turn(probes).await,
        ..TlsObservation::default()
    }
}

async fn probe_name(
    peer: SocketAddr,
    name: &ProbeName,
    roots: &[CertificateDer<'_>],
    now: UnixTime,
    deadline: Duration,
) -> TlsProbe {
    let (handshake, chain) = handshake(peer, &name.name, deadline).await;
    TlsProbe {
        name: name.name.clone(),
        random: name.random,
        peer: peer.to_string(),
        chain_der: chain.iter().map(hex::encode).collect(),
        path: verify_path(&chain, roots, now),
        handshake,
    }
}

/// The protocol version or the error, and what was served in either case.
async fn handshake(
    peer: SocketAddr,
    name: &str,
    deadline: Duration,
) -> (Result<String, String>, Vec<CertificateDer<'static>>) {
    let name = match ServerName::try_from(name.to_owned()) {
        Ok(name) => name,
        Err(error) => return (Err(error.to_string()), Vec::new()),
    };
    let (witness, connector) = match connector(&[]) {
        Ok(made) => made,
        Err(error) => return (Err(error.to_string()), Vec::new()),
    };
    let stream = within(deadline, connect(connector, peer, name)).await;
    let version = stream.map(|stream| match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2".to_owned(),
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    });
    (version, witness.chain().to_vec())
}

/// Builds a path from the served leaf over the served intermediates to a root (RFC 5280, section 6).
///
/// Neither the name nor the leaf's own validity is judged, since each has a criterion to itself: an expired leaf is
/// looked at as of the last moment at which it was valid. Nothing is fetched, so a missing intermediate is an error.
fn verify_path(chain: &[CertificateDer<'_>], roots: &[CertificateDer<'_>], now: UnixTime) -> Result<(), String> {
    let (leaf, intermediates) = chain.split_first().ok_or("no certificate was received")?;
    let anchors: Vec<TrustAnchor<'_>> = roots
        .iter()
        .map(|root| {
            webpki::anchor_from_trusted_cert(root)
                .map_err(|error| format!("a declared root is no certificate: {error}"))
        })
        .collect::<Result<_, _>>()?;
    EndEntityCert::try_from(leaf)
        .and_then(|end_entity| {
            end_entity
                .verify_for_usage(
                    webpki::ALL_VERIFICATION_ALGS,
                    &anchors,
                    intermediates,
                    nearest_valid(leaf, now),
                    KeyUsage::server_auth(),
                    None,
                    None,
                )
                .map(drop)
        })
        .map_err(|error| error.to_string())
}

/// `now`, or the nearest moment at which the leaf is valid.
fn nearest_valid(leaf: &CertificateDer<'_>, now: UnixTime) -> UnixTime {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else { return now };
    let secs = |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or_default();
    let validity = leaf.validity();
    let moment = now.as_secs().max(secs(validity.not_before)).min(secs(validity.not_after));
    UnixTime::since_unix_epoch(Duration::from_secs(moment))
}
