//! Accepting connections until the one who asked for it goes away.

use std::{future::Future, io};

use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::{JoinHandle, JoinSet},
};

/// A listener of either kind.
pub(crate) trait Listener: Send + Sync + 'static {
    /// What it accepts.
    type Stream: Send;
    /// The next connection.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// A running accept loop. Dropping it ends the loop and every connection that it accepted.
#[derive(Debug)]
pub(crate) struct Accepting(JoinHandle<()>);

impl Accepting {
    /// Serves every connection of `listener` with `serve`, at most `limit` at a time; more of them wait.
    pub(crate) fn start<L: Listener, F>(
        listener: L,
        limit: usize,
        serve: impl Fn(L::Stream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                while connections.try_join_next().is_some() {}
                if connections.len() >= limit {
                    connections.join_next().await;
                }
                match listener.next().await {
                    Ok(stream) => drop(connections.spawn(serve(stream))),
                    Err(error) => {
                        // Out of file descriptors or a connection that is gone already: one ending may cure the first.
                        tracing::warn!(%error, "a connection was not accepted");
                        connections.join_next().await;
                    }
                }
            }
        }))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}
