//! What declared URLs answer, asked of the machine's own leased address.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use coldproof_evidence::{
    expectations::ExpectedUrl,
    served::{HttpObservation, HttpProbe},
};
use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    pin, select,
};
use url::{Host, Position, Url};

use super::connect::{connect, connector, in_turn, within};

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("not a URL: {0}")]
    Url(#[from] url::ParseError),
    #[error("a URL without a host")]
    NoHost,
    #[error(transparent)]
    Name(#[from] InvalidDnsNameError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Asks for every URL, each within `deadline`; `resolve` says at which address a port of the guest is reached.
///
/// One GET over HTTP/1.1, and the first status counts: a redirect is an answer. Any certificate is accepted, because
/// certificates have criteria of their own and a stale leaf must not look like a broken service; no request carries
/// anything that would have to be kept from a wrong peer, and the connection goes to the given address alone.
pub async fn probe(
    urls: &BTreeMap<String, ExpectedUrl>,
    resolve: impl Fn(u16) -> SocketAddr,
    deadline: Duration,
) -> HttpObservation {
    let probes = urls.iter().map(|(service, expected)| {
        let status = within(deadline, status(&expected.url, &resolve));
        async move { HttpProbe { service: service.clone(), url: expected.url.clone(), status: status.await } }
    });
    HttpObservation { probes: in_turn(probes).await }
}

async fn status(url: &str, resolve: impl Fn(u16) -> SocketAddr) -> Result<u16, HttpError> {
    let url = Url::parse(url)?;
    let peer = resolve(url.port_or_known_default().ok_or(HttpError::NoHost)?);
    if url.scheme() != "https" {
        return exchange(TcpStream::connect(peer).await?, &url).await;
    }
    let name = match url.host().ok_or(HttpError::NoHost)? {
        Host::Domain(name) => ServerName::try_from(name.to_owned())?,
        Host::Ipv4(address) => ServerName::IpAddress(address.into()),
        Host::Ipv6(address) => ServerName::IpAddress(address.into()),
    };
    let (_, connector) = connector(&[b"http/1.1"])?;
    exchange(connect(connector, peer, name).await?, &url).await
}

async fn exchange<S>(stream: S, url: &Url) -> Result<u16, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(header::HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(header::USER_AGENT, concat!("coldproof/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let response = sender.send_request(request);
    pin!(response);
    // The connection may end in the same poll that delivers the response.
    let response = select! {
        response = &mut response => response,
        _ = connection => response.await,
    };
    Ok(response?.status().as_u16())
}
