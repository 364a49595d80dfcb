//! What is recorded of servers that refuse as they should, and of those that do not.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use coldproof_evidence::served::Reception;
use rstest::rstest;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{Acceptor, ResolvesServerCertUsingSni},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{Duration, sleep},
};

use super::{
    HASTY, PATIENT,
    authority::{Authority, Validity},
    server::{serve_greeting, serve_https, serve_nothing, serve_silence},
};
use crate::probe::{
    ProbeName,
    client_hello::{OldVersion, client_hello},
    refusal::{probe_old_versions, probe_unknown_name},
};

const NAME: &str = "ci.example.test";

/// What a server makes of TLS 1.0 and of TLS 1.1.
async fn old_versions(peer: SocketAddr) -> [Reception; 2] {
    let names = [ProbeName::declared(NAME), ProbeName::random_under(NAME)];
    let probes = probe_old_versions(peer, &names, PATIENT).await;
    assert_eq!(probes.iter().map(|probe| probe.version.as_str()).collect::<Vec<_>>(), ["TLSv1.0", "TLSv1.1"]);
    assert!(probes.iter().all(|probe| probe.name == NAME && probe.peer == peer.to_string()));
    let receptions: Vec<_> = probes.into_iter().map(|probe| probe.reception).collect();
    receptions.try_into().unwrap()
}

fn refused(alert: &str) -> Reception {
    Reception::Refused(alert.to_owned())
}

fn current() -> (ServerConfig, String) {
    let authority = Authority::new(Validity::Current);
    let leaf = authority.leaf(Validity::Current);
    (leaf.serve(Some(&authority.intermediate)), hex::encode(&leaf.certificate))
}

#[tokio::test]
async fn a_server_of_today_refuses_old_versions_by_an_alert() {
    let (peer, _) = serve_https(current().0).await;
    // Which alert is the server's business; rustls misses the signature algorithms first.
    let receptions = old_versions(peer).await;
    assert!(receptions.iter().all(|reception| matches!(reception, Reception::Refused(_))), "{receptions:?}");
}

/// OpenSSL's own server, so that the hello is one that somebody else accepts.
struct OpenSsl {
    process: Child,
    peer: SocketAddr,
    _dir: tempfile::TempDir,
}

impl OpenSsl {
    async fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ci.example.test"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(made.status.success());
        let peer = serve_nothing().await;
        let process = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &peer.to_string(), "-cert", "cert.pem", "-key", "key.pem"])
            .args(options)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while tokio::net::TcpStream::connect(peer).await.is_err() {
            tokio::task::yield_now().await;
        }
        Self { process, peer, _dir: dir }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[rstest]
#[case::tls_1_0(&["-tls1"], "TLSv1.0", "TLSv1.0")]
#[case::tls_1_1(&["-tls1_1"], "ProtocolVersion", "TLSv1.1")]
#[tokio::test]
async fn a_server_that_still_speaks_them_is_found_out(
    #[case] version: &[&str],
    #[case] tls_10: &str,
    #[case] tls_11: &str,
) {
    let server = OpenSsl::start(&[version, &["-cipher", "ALL:@SECLEVEL=0"]].concat()).await;
    let expected = [tls_10, tls_11].map(|word| match word.strip_prefix("TLSv") {
        Some(_) => Reception::Accepted(word.to_owned()),
        None => refused(word),
    });
    assert_eq!(old_versions(server.peer).await, expected);
}

#[tokio::test]
async fn a_warning_is_no_refusal() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // unrecognized_name (112) as a warning (1), then a ServerHello that chooses TLS 1.0.
            stream.write_all(&[21, 3, 1, 0, 2, 1, 112]).await.unwrap();
            stream.write_all(&[22, 3, 1, 0, 6, 2, 0, 0, 2, 3, 1]).await.unwrap();
            // Open until the client has gone, as what it sends unread would reset the connection.
            while stream.read_u8().await.is_ok() {}
        }
    });
    assert_eq!(old_versions(peer).await, ["TLSv1.0", "TLSv1.0"].map(|name| Reception::Accepted(name.to_owned())));
}

#[tokio::test]
async fn an_end_without_a_word_is_told_from_trouble() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    assert_eq!(old_versions(peer).await, [Reception::Closed, Reception::Closed]);
    assert_eq!(probe_unknown_name(peer, PATIENT).await.reception, Reception::Closed);
}

#[tokio::test]
async fn what_is_no_answer_is_no_refusal() {
    let unanswered = |reception: &Reception, words: &str| {
        let Reception::Unanswered(cause) = reception else { panic!("{reception:?}") };
        assert!(cause.to_lowercase().contains(words), "{cause}");
    };
    let silent = serve_silence().await;
    let late = probe_old_versions(silent, &[ProbeName::declared(NAME)], HASTY).await;
    unanswered(&late[0].reception, "no answer within 300ms");
    unanswered(&probe_unknown_name(silent, HASTY).await.reception, "no answer within 300ms");

    unanswered(&old_versions(serve_greeting().await).await[0], "no handshake of tls: it begins with 323230");
    let nobody = serve_nothing().await;
    unanswered(&old_versions(nobody).await[1], "connection refused");
    unanswered(&probe_unknown_name(nobody, PATIENT).await.reception, "connection refused");
}

#[tokio::test]
async fn a_certificate_for_a_name_of_nobody_is_recorded() {
    let (config, leaf) = current();
    let (peer, seen) = serve_https(config).await;
    let probe = probe_unknown_name(peer, PATIENT).await;
    assert_eq!(probe.reception, Reception::Accepted(leaf));
    assert!(probe.name.ends_with(".invalid"), "{}", probe.name);
    assert_eq!(*seen.names.lock().unwrap(), [Some(probe.name)]);
}

#[tokio::test]
async fn a_server_that_knows_its_names_refuses_others() {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    let (peer, _) = serve_https(config).await;
    let Reception::Refused(alert) = probe_unknown_name(peer, PATIENT).await.reception else { panic!("accepted") };
    assert!(["AccessDenied", "HandshakeFailure", "UnrecognizedName", "UnrecognisedName"].contains(&&*alert), "{alert}");
}

#[test]
fn a_hello_is_read_as_what_it_says() {
    for version in OldVersion::ALL {
        let hello = client_hello(NAME, version, [7; 32]);
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut hello.as_slice()).unwrap();
        // rustls reads the whole hello before it refuses what the hello does not offer.
        let (error, _) = acceptor.accept().map(|_| ()).unwrap_err();
        assert!(matches!(error, rustls::Error::PeerIncompatible(_)), "{error}");
    }
}

#[tokio::test]
async fn a_peer_has_few_probes_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = listener.local_addr().unwrap();
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let open = Arc::clone(&open);
            tokio::spawn(async move {
                // Long enough for all the others to come meanwhile.
                sleep(Duration::from_millis(20)).await;
                open.fetch_sub(1, Ordering::SeqCst);
                drop(stream);
            });
        }
    });
    let names: Vec<_> = (0..4).map(|number| ProbeName::declared(format!("{number}.example.test"))).collect();
    assert_eq!(probe_old_versions(peer, &names, PATIENT).await.len(), 8);
    assert_eq!(most.load(Ordering::SeqCst), 2);
}
