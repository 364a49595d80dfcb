//! Files of an instance. They can be read and written while a container is stopped, too.

use bytes::Bytes;
use coldproof_machines::deadline::Deadline;
use reqwest::Method;

use crate::{client::Client, error::IncusError, http::Call, instance::path};

impl Client {
    /// Writes a file of root's with the permission bits `mode`. The server holds the bytes in a
    /// temporary file of its own meanwhile, so a secret goes through a command's standard input.
    ///
    /// # Errors
    /// [`IncusError`].
    pub async fn push_file(
        &self,
        name: &str,
        file: &str,
        mode: u32,
        bytes: impl Into<Bytes> + Send,
        deadline: Deadline,
    ) -> Result<(), IncusError> {
        let call = files(Method::POST, name, file, format!("write {file} in {name}"))
            .header("x-incus-type", "file")
            .header("x-incus-uid", "0")
            .header("x-incus-gid", "0")
            .header("x-incus-mode", format!("{mode:04o}"))
            .header("content-type", "application/octet-stream")
            .bytes(bytes);
        self.run(call, deadline).await.map(drop)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`IncusError`].
    pub async fn pull_file(&self, name: &str, file: &str, deadline: Deadline) -> Result<Bytes, IncusError> {
        let call = files(Method::GET, name, file, format!("read {file} in {name}"));
        self.bytes(call, deadline).await
    }
}

fn files(method: Method, name: &str, file: &str, what: String) -> Call {
    Call::new(method, format!("{}/files", path(name)), what).query("path", file)
}
