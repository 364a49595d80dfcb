//! What an HTTP probe records of servers that answer, and of those that do not.

use std::{collections::BTreeMap, net::SocketAddr, sync::Mutex};

use coldproof_evidence::expectations::ExpectedUrl;
use rstest::rstest;

use super::{
    HASTY, PATIENT,
    authority::{Authority, Validity},
    server::{serve_http, serve_https, serve_nothing, serve_silence},
};
use crate::probe::http::probe;

fn urls(url: &str) -> BTreeMap<String, ExpectedUrl> {
    [("service".to_owned(), ExpectedUrl { url: url.to_owned(), status: 200 })].into()
}

/// The one status, and the ports that were asked for.
async fn look(url: &str, peer: SocketAddr) -> (Result<u16, String>, Vec<u16>) {
    let ports = Mutex::new(Vec::new());
    let resolve = |port| {
        ports.lock().unwrap().push(port);
        peer
    };
    let observed = probe(&urls(url), resolve, PATIENT).await;
    let probe = observed.probes.into_iter().next().unwrap();
    assert_eq!((probe.service.as_str(), probe.url.as_str()), ("service", url));
    (probe.status, ports.into_inner().unwrap())
}

#[rstest]
#[case::ok(200)]
#[case::redirect_is_not_followed(302)]
#[case::not_found(404)]
#[case::error(500)]
#[tokio::test]
async fn the_first_status_is_recorded(#[case] status: u16) {
    let (peer, seen) = serve_http().await;

    let (got, ports) = look(&format!("http://ci.example.test/{status}?next=/"), peer).await;

    assert_eq!(got, Ok(status));
    assert_eq!(ports, [80]);
    let requests = seen.requests.lock().unwrap();
    assert_eq!(requests.len(), 1);
    let request = requests[0].to_lowercase();
    assert!(request.starts_with(&format!("get /{status}?next=/ http/1.1\r\n")), "{request}");
    assert!(request.contains("\r\nhost: ci.example.test\r\n"), "{request}");
}

#[tokio::test]
async fn https_asks_for_the_name_at_the_address_that_stands_for_port_443() {
    let authority = Authority::new(Validity::Current);
    let leaf = authority.leaf(Validity::Current);
    let (peer, seen) = serve_https(leaf.serve(Some(&authority.intermediate))).await;

    let (got, ports) = look("https://drone.ci.example.test/200", peer).await;

    assert_eq!(got, Ok(200));
    assert_eq!(ports, [443]);
    assert_eq!(*seen.names.lock().unwrap(), [Some("drone.ci.example.test".to_owned())]);
}

#[tokio::test]
async fn a_port_in_the_url_is_mapped_and_stays_in_the_host_header() {
    let (peer, seen) = serve_http().await;

    let (got, ports) = look("http://ci.example.test:8080/200", peer).await;

    assert_eq!(got, Ok(200));
    assert_eq!(ports, [8080]);
    assert!(seen.requests.lock().unwrap()[0].contains("host: ci.example.test:8080\r\n"));
}

#[rstest]
#[case::v4("http://192.0.2.1/200")]
#[case::v6("http://[2001:db8::1]/200")]
#[tokio::test]
async fn an_address_in_the_url_is_not_connected_to(#[case] url: &str) {
    let (peer, _) = serve_http().await;

    assert_eq!(look(url, peer).await.0, Ok(200));
}

#[tokio::test]
async fn an_untrusted_certificate_is_not_the_service_s_fault() {
    let authority = Authority::new(Validity::Past);
    let expired_and_incomplete = authority.leaf(Validity::Past).serve(None);
    let (peer, _) = serve_https(expired_and_incomplete).await;

    assert_eq!(look("https://elsewhere.example.test/200", peer).await.0, Ok(200));
}

#[tokio::test]
async fn nobody_there_is_recorded() {
    let (got, _) = look("http://ci.example.test/200", serve_nothing().await).await;

    assert!(got.unwrap_err().to_lowercase().contains("connection refused"));
}

#[tokio::test]
async fn what_is_no_http_is_recorded() {
    let authority = Authority::new(Validity::Current);
    let (peer, _) = serve_https(authority.leaf(Validity::Current).serve(None)).await;

    assert!(look("http://ci.example.test/200", peer).await.0.is_err());
}

#[tokio::test]
async fn silence_and_slowness_end_at_the_deadline() {
    let (slow, _) = serve_http().await;
    let silent = serve_silence().await;
    let urls = [("silent", "http://ci.example.test/200"), ("slow", "http://ci.example.test:81/never")]
        .map(|(service, url)| (service.to_owned(), ExpectedUrl { url: url.to_owned(), status: 200 }));

    let observed = probe(&urls.into(), |port| if port == 81 { slow } else { silent }, HASTY).await;

    assert_eq!(observed.probes.len(), 2);
    for probe in observed.probes {
        assert_eq!(probe.status, Err("no answer within 300ms".to_owned()), "{}", probe.service);
    }
}
