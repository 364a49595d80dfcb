//! What a TLS probe records of good, bad and absent servers.

use std::{net::SocketAddr, sync::Arc};

use coldproof_evidence::served::TlsProbe;
use rustls::{ServerConfig, crypto::ring, pki_types::CertificateDer, server::ResolvesServerCertUsingSni};

use super::{
    HASTY, PATIENT,
    authority::{Authority, Leaf, Validity},
    server::{serve_greeting, serve_https, serve_nothing, serve_silence},
};
use crate::probe::{ProbeName, tls::probe};

const NAME: &str = "ci.example.test";

async fn look(peer: SocketAddr, root: &CertificateDer<'_>) -> TlsProbe {
    let observed = probe(peer, &[ProbeName::declared(NAME)], std::slice::from_ref(root), PATIENT).await;
    assert!(observed.at_secs > 1_700_000_000);
    observed.probes.into_iter().next().unwrap()
}

async fn look_at(config: ServerConfig, root: &CertificateDer<'_>) -> TlsProbe {
    look(serve_https(config).await.0, root).await
}

fn good() -> (Authority, Leaf) {
    let authority = Authority::new(Validity::Current);
    let leaf = authority.leaf(Validity::Current);
    (authority, leaf)
}

#[tokio::test]
async fn a_good_chain_is_recorded_and_leads_to_the_root() {
    let (authority, leaf) = good();
    let (peer, seen) = serve_https(leaf.serve(Some(&authority.intermediate))).await;

    let probe = look(peer, &authority.root).await;

    let expected = TlsProbe {
        name: NAME.to_owned(),
        random: false,
        peer: peer.to_string(),
        chain_der: vec![hex::encode(&leaf.certificate), hex::encode(&authority.intermediate)],
        path: Ok(()),
        handshake: Ok("TLSv1.3".to_owned()),
    };
    assert_eq!(probe, expected);
    assert_eq!(*seen.names.lock().unwrap(), [Some(NAME.to_owned())]);
}

#[tokio::test]
async fn an_older_version_is_named() {
    let (authority, leaf) = good();
    let any = leaf.serve(Some(&authority.intermediate));
    let only_12 = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&any.cert_resolver));

    assert_eq!(look_at(only_12, &authority.root).await.handshake, Ok("TLSv1.2".to_owned()));
}

#[tokio::test]
async fn a_stale_leaf_is_served_as_it_is() {
    let (authority, committed) = good();
    let stale = authority.leaf(Validity::Current);

    let probe = look_at(stale.serve(Some(&authority.intermediate)), &authority.root).await;

    assert_eq!(probe.chain_der[0], hex::encode(&stale.certificate));
    assert_ne!(probe.chain_der[0], hex::encode(&committed.certificate));
    assert_eq!(probe.path, Ok(()));
}

#[tokio::test]
async fn without_the_intermediate_no_path_is_found_and_nothing_is_fetched() {
    let (authority, leaf) = good();

    let probe = look_at(leaf.serve(None), &authority.root).await;

    assert_eq!(probe.path, Err("UnknownIssuer".to_owned()));
    assert_eq!(probe.chain_der.len(), 1);
    assert!(probe.handshake.is_ok());
}

#[tokio::test]
async fn a_chain_to_another_root_is_no_path() {
    let (authority, leaf) = good();
    let other = Authority::new(Validity::Current);

    let probe = look_at(leaf.serve(Some(&authority.intermediate)), &other.root).await;

    assert_eq!(probe.path, Err("UnknownIssuer".to_owned()));
    assert!(probe.handshake.is_ok());
}

#[tokio::test]
async fn an_expired_leaf_leaves_the_path_alone() {
    let authority = Authority::new(Validity::Past);
    let leaf = authority.leaf(Validity::Past);

    let probe = look_at(leaf.serve(Some(&authority.intermediate)), &authority.root).await;

    // The root of the test did not exist yet when the leaf was valid, but a trust anchor's own dates do not count.
    assert_eq!(probe.path, Ok(()));
    assert!(probe.handshake.is_ok());
}

#[tokio::test]
async fn an_expired_intermediate_breaks_the_path() {
    let authority = Authority::new(Validity::Past);
    let leaf = authority.leaf(Validity::Current);

    let probe = look_at(leaf.serve(Some(&authority.intermediate)), &authority.root).await;

    assert!(probe.path.unwrap_err().starts_with("CertExpired"));
    assert!(probe.handshake.is_ok());
}

#[tokio::test]
async fn a_name_that_the_leaf_does_not_have_is_not_judged_here() {
    let (authority, leaf) = good();
    let (peer, _) = serve_https(leaf.serve(Some(&authority.intermediate))).await;
    let names = [ProbeName::declared("elsewhere.example.test")];

    let observed = probe(peer, &names, &[authority.root], PATIENT).await;

    assert_eq!(observed.probes[0].path, Ok(()));
}

#[tokio::test]
async fn a_server_without_the_leaf_s_key_is_found_out() {
    let (authority, leaf) = good();
    let stolen = authority.leaf(Validity::Current).certificate;

    let probe = look_at(leaf.serve_as(&stolen, Some(&authority.intermediate)), &authority.root).await;

    assert_eq!(probe.chain_der[0], hex::encode(&stolen));
    assert!(probe.handshake.unwrap_err().contains("BadSignature"));
}

#[tokio::test]
async fn a_server_that_knows_no_certificate_for_the_name_serves_none() {
    let (authority, _) = good();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));

    let probe = look_at(config, &authority.root).await;

    assert_eq!(probe.chain_der, Vec::<String>::new());
    assert_eq!(probe.path, Err("no certificate was received".to_owned()));
    assert!(probe.handshake.is_err());
}

#[tokio::test]
async fn a_server_without_tls_serves_no_certificate() {
    let (authority, _) = good();

    let probe = look(serve_greeting().await, &authority.root).await;

    assert_eq!(probe.chain_der, Vec::<String>::new());
    assert!(probe.handshake.unwrap_err().contains("corrupt message"));
}

#[tokio::test]
async fn nobody_there_is_recorded() {
    let (authority, _) = good();

    let probe = look(serve_nothing().await, &authority.root).await;

    assert_eq!(probe.chain_der, Vec::<String>::new());
    assert!(probe.handshake.unwrap_err().to_lowercase().contains("connection refused"));
}

#[tokio::test]
async fn silence_ends_at_the_deadline_for_every_name() {
    let (authority, _) = good();
    let peer = serve_silence().await;
    let names = vec![ProbeName::declared(NAME); 4];

    let observed = probe(peer, &names, &[authority.root], HASTY).await;

    assert_eq!(observed.probes.len(), 4);
    for probe in observed.probes {
        assert_eq!(probe.handshake, Err("no answer within 300ms".to_owned()));
        assert_eq!(probe.chain_der, Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_server_sees_every_name_that_was_asked_for() {
    let (authority, leaf) = good();
    let (peer, seen) = serve_https(leaf.serve(Some(&authority.intermediate))).await;
    let names = [ProbeName::declared(NAME), ProbeName::random_under(NAME)];

    let observed = probe(peer, &names, &[authority.root], PATIENT).await;

    let mut served: Vec<String> = seen.names.lock().unwrap().iter().flatten().cloned().collect();
    let mut asked: Vec<String> = observed.probes.iter().map(|probe| probe.name.clone()).collect();
    assert!(observed.probes[1].random);
    served.sort();
    asked.sort();
    assert_eq!(served, asked);
}
