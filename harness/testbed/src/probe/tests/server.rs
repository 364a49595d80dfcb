//! Servers of this process, and what they saw.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rustls::{ServerConfig, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::LazyConfigAcceptor;

/// What a server saw.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) names: Arc<Mutex<Vec<Option<String>>>>,
    pub(super) requests: Arc<Mutex<Vec<String>>>,
}

/// Answers a request for `/N` with status N and a redirect to a place where nobody is; `/never` is never answered.
pub(super) async fn serve_http() -> (SocketAddr, Seen) {
    listen(|stream, seen| async move { answer(stream, &seen).await }).await
}

/// The same over TLS.
pub(super) async fn serve_https(config: ServerConfig) -> (SocketAddr, Seen) {
    let config = Arc::new(config);
    listen(move |stream, seen| {
        let config = Arc::clone(&config);
        async move {
            let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { return };
            // Written down before the handshake goes on: the client may be done before this server is.
            seen.names.lock().unwrap().push(start.client_hello().server_name().map(str::to_owned));
            let Ok(stream) = start.into_stream(config).await else { return };
            answer(stream, &seen).await;
        }
    })
    .await
}

/// Accepts every connection and says nothing.
pub(super) async fn serve_silence() -> SocketAddr {
    listen(|mut stream, _| async move {
        // Reads what comes until the client gives up, so that the connection stays open as long as that.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
    })
    .await
    .0
}

/// Greets in plain text, as some protocols do.
pub(super) async fn serve_greeting() -> SocketAddr {
    listen(|mut stream, _| async move {
        stream.write_all(b"220 mail.example.test ready\r\n").await.ok();
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
    })
    .await
    .0
}

/// An address where nobody listens.
pub(super) async fn serve_nothing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn listen<F>(serve: impl Fn(TcpStream, Seen) -> F + Send + 'static) -> (SocketAddr, Seen)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let shared = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, shared.clone()));
        }
    });
    (address, seen)
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: &Seen) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(['/', ' ', '?']).nth(2).unwrap_or_default().to_owned();
    seen.requests.lock().unwrap().push(head);
    if status == "never" {
        stream.read_u8().await.ok();
        return;
    }
    let location = "http://127.0.0.1:9/";
    let response = format!("HTTP/1.1 {status} Status\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(response.as_bytes()).await.ok();
}
