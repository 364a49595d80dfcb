//! The project's own image in the form that a container starts from.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use coldproof_machines::{deadline::Deadline, provider::BootImage};
use hyper::Method;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    client::{Call, Client},
    error::IncusError,
};

/// Mounts the disk where nobody else sees it, and writes Incus's unified image: `metadata.yaml` and `rootfs/`.
/// usage: DISK DIRECTORY, a directory with metadata.yaml; the image goes to DIRECTORY/image.tar.zst.
///
/// A container's root file system is not its own to grow, and its init is told so in no other way.
const PACK: &str = r#"set -eu
mkdir "$2/rootfs"
mount -o loop,ro,noload "$1" "$2/rootfs"
tar --create --directory "$2" --numeric-owner --xattrs --sort=name --use-compress-program 'zstd -q -3 -T0' \
    --exclude './rootfs/etc/systemd/system/*.wants/systemd-growfs-root.service' --exclude ./rootfs/lost+found \
    --file "$2/image.tar.zst" ./metadata.yaml ./rootfs
umount "$2/rootfs"
"#;
const METADATA: &str = "architecture: x86_64\ncreation_date: 1\nproperties: {description: blank machine}\n";

/// An image that a server can import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerImage {
    /// The unified tarball.
    pub path: PathBuf,
    /// Its SHA-256, which is what Incus calls the image's fingerprint.
    pub fingerprint: String,
}

impl ContainerImage {
    /// The image's container form, kept in `cache` under the image's key once made. It blocks.
    ///
    /// # Errors
    /// When it cannot be packed, which root must do: its words say why.
    pub fn ensure(image: &BootImage, cache: &Path) -> io::Result<Self> {
        let dir = cache.join("incus");
        fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{}.tar.zst", image.key));
        let lock = File::create(path.with_extension("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        if !path.exists() {
            pack(image, &dir, &path)?;
        }
        let fingerprint = hex::encode(digest(&path)?);
        Ok(Self { path, fingerprint })
    }
}

fn pack(image: &BootImage, dir: &Path, path: &Path) -> io::Result<()> {
    let draft = dir.join(format!("{}.draft", image.key));
    drop(fs::remove_dir_all(&draft));
    fs::create_dir(&draft)?;
    fs::write(draft.join("metadata.yaml"), METADATA)?;
    let output = Command::new("unshare")
        .args(["--mount", "--", "sh", "-c", PACK, "pack"])
        .args([image.root.as_path(), &draft])
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("packing {} for a container: {words}", image.root.display())));
    }
    fs::rename(draft.join("image.tar.zst"), path)?;
    fs::remove_dir_all(&draft)
}

fn digest(path: &Path) -> io::Result<impl AsRef<[u8]>> {
    let (mut file, mut digest, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize()),
            count => digest.update(&buffer[..count]),
        }
    }
}

impl Client {
    /// Imports an image unless the server has it. The server checks the fingerprint.
    ///
    /// # Errors
    /// [`IncusError`]; a restricted project needs `features.images=true` for images of its own.
    pub async fn import(&self, image: &ContainerImage, deadline: Deadline) -> Result<(), IncusError> {
        let look = Call::new(Method::GET, format!("/1.0/images/{}", image.fingerprint), "look for the image");
        match self.get::<Value>(look, deadline).await {
            Err(IncusError::NotFound { .. }) => {}
            found => return found.map(drop),
        }
        let bytes = tokio::fs::read(&image.path).await.map_err(|error| IncusError::Setting {
            setting: "image",
            problem: format!("{}: {error}", image.path.display()),
            remedy: "make it again with `coldproof image`".to_owned(),
        })?;
        let mut call = Call::new(Method::POST, "/1.0/images", "import the image")
            .header("content-type", "application/octet-stream")
            .header("x-incus-filename", "coldproof.tar.zst")
            .header("x-incus-fingerprint", &image.fingerprint);
        call.body = bytes.into();
        self.run(call, deadline).await.map(drop)
    }
}
