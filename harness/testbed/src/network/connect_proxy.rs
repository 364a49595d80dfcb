//! The proxy by which the guest reaches what the host definition allows: it only tunnels (HTTP's CONNECT), so that TLS
//! stays end to end, and it keeps account of everything that it is asked for.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Empty;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::copy_bidirectional,
    net::{TcpStream, UnixListener, UnixStream},
    time::timeout,
};

use super::accept::Accepting;
use crate::host::Destination;

const CONNECTIONS: usize = 64;
const HEADER_LIMIT: usize = 16 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// One request to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// `host:port` as the guest asked for it, in lower case.
    pub destination: String,
    /// Whether the host definition allows it.
    pub allowed: bool,
    /// The status it was answered with: 200 where a connection was made, 502 or 504 where an allowed one was not.
    pub status: u16,
}

/// The running proxy. Dropping it ends it and every tunnel.
#[derive(Debug)]
pub struct ConnectProxy {
    shared: Arc<Shared>,
    socket: PathBuf,
    _accepting: Accepting,
}

#[derive(Debug)]
struct Shared {
    allow: BTreeSet<String>,
    requests: Mutex<Vec<ConnectRequest>>,
}

/// A connection that was made and an upgrade of the client's that is under way.
type Tunnel = (OnUpgrade, TcpStream);

impl ConnectProxy {
    /// Listens on a new Unix socket at `socket` and lets through what is in `allow`.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub async fn start(allow: &[Destination], socket: &Path) -> io::Result<Self> {
        let allow = allow.iter().map(|destination| destination.as_str().to_ascii_lowercase()).collect();
        let shared = Arc::new(Shared { allow, requests: Mutex::default() });
        let of_connection = Arc::clone(&shared);
        let listener = UnixListener::bind(socket)?;
        let accepting =
            Accepting::start(listener, CONNECTIONS, move |stream| serve(Arc::clone(&of_connection), stream));
        Ok(Self { shared, socket: socket.to_owned(), _accepting: accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Everything that it was asked for, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<ConnectRequest> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(shared: Arc<Shared>, client: UnixStream) {
    let tunnel: Arc<Mutex<Option<Tunnel>>> = Arc::default();
    let made = Arc::clone(&tunnel);
    let service = service_fn(move |request| {
        let (shared, made) = (Arc::clone(&shared), Arc::clone(&made));
        async move { Ok::<_, Infallible>(shared.answer(request, &made).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_LIMIT)
        .serve_connection(TokioIo::new(client), service)
        .with_upgrades()
        .await;
    // The tunnel is part of this future, so that it ends with the proxy.
    let tunnel = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    let tunnelled = match (served, tunnel) {
        (Err(error), _) => Err(io::Error::other(error)),
        (Ok(()), Some(tunnel)) => carry(tunnel).await,
        (Ok(()), None) => Ok(()),
    };
    if let Err(error) = tunnelled {
        tracing::debug!(%error, "a client of the proxy ended early");
    }
}

async fn carry((client, mut server): Tunnel) -> io::Result<()> {
    let client = client.await.map_err(io::Error::other)?;
    copy_bidirectional(&mut TokioIo::new(client), &mut server).await.map(drop)
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>, tunnel: &Mutex<Option<Tunnel>>) -> Response<Empty<Bytes>> {
        let destination = destination(&request);
        let allowed = request.method() == Method::CONNECT && self.allow.contains(&destination);
        let status = if allowed {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(&destination)).await {
                Ok(Ok(server)) => {
                    let made = (upgrade::on(request), server);
                    *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
                    StatusCode::OK
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, %destination, "an allowed destination could not be reached");
                    StatusCode::BAD_GATEWAY
                }
                Err(_) => StatusCode::GATEWAY_TIMEOUT,
            }
        } else {
            StatusCode::FORBIDDEN
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(ConnectRequest { destination, allowed, status: status.as_u16() });
        let mut response = Response::new(Empty::new());
        *response.status_mut() = status;
        response
    }
}

/// `host:port` of a CONNECT, or of the absolute URL of another method that clients send to a proxy.
fn destination(request: &Request<Incoming>) -> String {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    format!("{host}:{}", uri.port_u16().unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tempfile::TempDir;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn proxy(allow: &str) -> (ConnectProxy, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let allow = [Destination::try_from(allow.to_owned()).unwrap()];
        (ConnectProxy::start(&allow, &dir.path().join("proxy.sock")).await.unwrap(), dir)
    }

    /// Sends `head`; returns the status line and the open connection.
    async fn ask(proxy: &ConnectProxy, head: &str) -> (String, UnixStream) {
        let mut stream = UnixStream::connect(proxy.socket()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") && stream.read_buf(&mut answer).await.unwrap() > 0 {}
        let answer = String::from_utf8(answer).unwrap();
        (answer.lines().next().unwrap_or_default().to_owned(), stream)
    }

    #[tokio::test]
    async fn an_allowed_destination_is_tunnelled_both_ways() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = format!("localhost:{}", server.local_addr().unwrap().port());
        tokio::spawn(async move {
            let (mut stream, _) = server.accept().await.unwrap();
            let mut four = [0; 4];
            stream.read_exact(&mut four).await.unwrap();
            four.reverse();
            stream.write_all(&four).await.unwrap();
        });
        let (proxy, _dir) = proxy(&destination).await;
        let upper = destination.replace("localhost", "LocalHost");
        let (status, mut stream) = ask(&proxy, &format!("CONNECT {upper} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        stream.write_all(b"ping").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "gnip");
        assert_eq!(proxy.requests(), [ConnectRequest { destination, allowed: true, status: 200 }]);
    }

    #[rstest]
    #[case("CONNECT 127.0.0.1:1 HTTP/1.1", "127.0.0.1:1", true, 502)]
    #[case("CONNECT 127.0.0.1:2 HTTP/1.1", "127.0.0.1:2", false, 403)]
    #[case("CONNECT cache.example.test:443 HTTP/1.1", "cache.example.test:443", false, 403)]
    #[case("GET http://127.0.0.1:1/ HTTP/1.1", "127.0.0.1:1", false, 403)]
    #[case("GET http://example.test/ HTTP/1.1", "example.test:80", false, 403)]
    #[tokio::test]
    async fn everything_else_is_refused_and_recorded(
        #[case] line: &str,
        #[case] destination: &str,
        #[case] allowed: bool,
        #[case] status: u16,
    ) {
        let (proxy, _dir) = proxy("127.0.0.1:1").await;
        let (answer, _) = ask(&proxy, &format!("{line}\r\nHost: x\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(proxy.requests(), [ConnectRequest { destination: destination.to_owned(), allowed, status }]);
    }

    #[tokio::test]
    async fn an_endless_header_is_cut_off() {
        let (proxy, _dir) = proxy("127.0.0.1:1").await;
        let mut stream = UnixStream::connect(proxy.socket()).await.unwrap();
        stream.write_all(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nX: ").await.unwrap();
        let flood = vec![b'a'; 1 << 20];
        // The proxy may hang up before all of it is written.
        let _ = stream.write_all(&flood).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
        assert_eq!(proxy.requests(), []);
    }

    #[tokio::test]
    async fn tunnels_end_with_the_proxy() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let destination = server.local_addr().unwrap().to_string();
        let (proxy, _dir) = proxy(&destination).await;
        let (status, mut stream) = ask(&proxy, &format!("CONNECT {destination} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        drop(proxy);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or_default(), 0);
    }
}
