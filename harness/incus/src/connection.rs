//! A stream of our own to the server, for websockets: TCP or SOCKS5, then TLS.

use std::io;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_socks::{Error as SocksError, tcp::Socks5Stream};

use crate::{
    error::IncusError,
    server::{Address, Server},
    tls::{Identity, server_refused},
};

/// How to open connections to a server.
pub(crate) struct Dialer {
    address: Address,
    proxy: Option<Address>,
    pub(crate) identity: Identity,
}

impl Dialer {
    pub(crate) fn new(server: &Server) -> Result<Self, IncusError> {
        Ok(Self { address: server.address()?, proxy: server.proxy_address()?, identity: Identity::load(server)? })
    }

    /// `host:port` of the server.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// An encrypted stream to the server.
    pub(crate) async fn dial(&self) -> Result<TlsStream<TcpStream>, IncusError> {
        let tcp = self.tcp().await?;
        tcp.set_nodelay(true).map_err(|error| self.unreachable(&error))?;
        let name = ServerName::try_from(self.address.host.clone()).map_err(|error| self.unreachable(&error))?;
        TlsConnector::from(self.identity.tls.clone()).connect(name, tcp).await.map_err(|error| {
            match server_refused(&error) {
                Some(reason) => IncusError::ServerIdentity { server: self.authority(), reason },
                None => self.unreachable(&error),
            }
        })
    }

    async fn tcp(&self) -> Result<TcpStream, IncusError> {
        let target = (self.address.host.as_str(), self.address.port);
        let Some(proxy) = &self.proxy else {
            return TcpStream::connect(target).await.map_err(|error| self.unreachable(&error));
        };
        let down = |error: io::Error| IncusError::ProxyDown { proxy: proxy.to_string(), reason: error.to_string() };
        let socket = TcpStream::connect((proxy.host.as_str(), proxy.port)).await.map_err(down)?;
        // The name goes to the proxy, which may be the only one that can resolve it.
        match Socks5Stream::connect_with_socket(socket, target).await {
            Ok(stream) => Ok(stream.into_inner()),
            Err(SocksError::Io(error)) => Err(down(error)),
            Err(refused) => Err(self.unreachable(&refused)),
        }
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> IncusError {
        IncusError::Unreachable {
            server: self.authority(),
            proxy: self.proxy.as_ref().map(Address::to_string),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn cut(&self, what: &str, reason: impl std::fmt::Display) -> IncusError {
        IncusError::Cut { server: self.authority(), what: what.to_owned(), reason: reason.to_string() }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}
