//! Starting programs in a container.

use std::fmt;

use async_trait::async_trait;
use coldproof_machines::guest::TransportError;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// A program that runs in a container. Its streams and its end are independent of each other.
pub struct Program {
    /// Where it reads; shutting this down is its end of file.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// What it writes to standard output.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// What it writes to standard error.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Its exit status, as a shell gives it, once it has ended and both outputs were read to their ends.
    pub status: BoxFuture<'static, Result<i32, TransportError>>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

/// How a provider starts programs in one of its containers. Any number may run at once.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Starts a program as root.
    ///
    /// # Errors
    /// [`TransportError`] when it is not known to run.
    async fn start(&self, argv: &[String]) -> Result<Program, TransportError>;
}
