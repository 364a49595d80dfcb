//! TLS to one address, under a name that is never resolved, within a deadline.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use rustls::{ClientConfig, client::Resumption, crypto::ring, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::witness::Witness;

/// Makes a witness and the connector that reports to it. `protocols` are offered by ALPN.
///
/// The ring provider is passed in and not installed: a process-wide default would be somebody else's decision too.
pub(super) fn connector(protocols: &[&[u8]]) -> Result<(Arc<Witness>, TlsConnector), rustls::Error> {
    let crypto = Arc::new(ring::default_provider());
    let witness = Arc::new(Witness::new(Arc::clone(&crypto)));
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<_>)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // A resumed session would not show its certificate again.
    config.resumption = Resumption::disabled();
    Ok((witness, TlsConnector::from(Arc::new(config))))
}

/// Connects to `peer` and asks it for `name`.
pub(super) async fn connect(
    connector: TlsConnector,
    peer: SocketAddr,
    name: ServerName<'static>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(peer).await?;
    connector.connect(name, stream).await
}

/// As many probes of one peer run at once. QEMU's user network listens with a backlog of one (slirp's `tcpx_listen`), for
/// which the kernel keeps two connections: it drops what comes beyond, and the next try is seconds later.
const AT_ONCE: usize = 2;

/// What the probes came to, in their order; none is started before its turn, and its deadline neither.
pub(super) async fn in_turn<T>(probes: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    stream::iter(probes).buffered(AT_ONCE).collect().await
}

/// What `attempt` came to within `deadline`, or why it came to nothing, in words.
pub(super) async fn within<T, E: std::error::Error>(
    deadline: Duration,
    attempt: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(deadline, attempt).await {
        Ok(result) => result.map_err(|error| words(&error)),
        Err(_) => Err(late(deadline)),
    }
}

/// That `deadline` has passed, in words.
pub(super) fn late(deadline: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(deadline))
}

/// Error and causes in one line.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
