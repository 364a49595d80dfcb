//! The blank image, as the engine has it.

use std::{path::Path, process::Stdio};

use futures::TryStreamExt as _;
use testcontainers::bollard::{
    Docker, body_try_stream,
    query_parameters::{CreateImageOptions, RemoveImageOptions},
};
use tokio::process::Command;
use tokio_util::io::ReaderStream;

use crate::EngineError;

/// The repository's name of all our images.
pub(crate) const NAME: &str = "coldproof-blank";
/// Bytes read of the archive at a time.
const CHUNK: usize = 1 << 20;

/// The tag of the image with this key; a digest is longer than what tells images apart.
pub(crate) fn tag(key: &str) -> &str {
    key.get(..32).unwrap_or(key)
}

/// Sees that the engine has the image whose root tree is in `archive` (tar, packed by zstd); imports it once.
pub(crate) async fn ensure(docker: &Docker, archive: &Path, key: &str) -> Result<(), EngineError> {
    let tag = tag(key);
    if docker.inspect_image(&format!("{NAME}:{tag}")).await.is_ok() {
        return Ok(());
    }
    let what = format!("importing {}", archive.display());
    let failed = |reason: String| EngineError::Refused { what: what.clone(), reason };
    let mut unpack = Command::new("zstd");
    unpack.args(["--decompress", "--stdout", "--quiet", "--"]).arg(archive);
    unpack.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut unpack =
        unpack.spawn().map_err(|error| failed(format!("zstd: {error}; `coldproof doctor --fix` installs it")))?;
    let tree = unpack.stdout.take().ok_or_else(|| failed("zstd has no output".to_owned()))?;
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(NAME.to_owned()),
        tag: Some(tag.to_owned()),
        ..CreateImageOptions::default()
    };
    let body = body_try_stream(ReaderStream::with_capacity(tree, CHUNK));
    let said = docker.create_image(Some(options), Some(body), None).try_collect::<Vec<_>>().await;
    said.map_err(|error| failed(error.to_string()))?;
    let status = unpack.wait().await.map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    // Half a tree under the name of a whole one must not be found the next time.
    drop(docker.remove_image(&format!("{NAME}:{tag}"), None::<RemoveImageOptions>, None).await);
    Err(failed(format!("the archive is damaged (zstd ended with {status}); `coldproof image --verify` tells more")))
}
