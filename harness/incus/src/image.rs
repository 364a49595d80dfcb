//! The project's own image in the form that a container starts from.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
};

use coldproof_machines::{deadline::Deadline, provider::BootImage};
use reqwest::{
    Body, Method,
    multipart::{Form, Part},
};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    client::{Client, segment},
    error::IncusError,
    http::Call,
};

const METADATA: &str = "architecture: x86_64\ncreation_date: 1\nproperties: {description: blank machine}\n";

/// What an alias stands for.
#[derive(Deserialize)]
struct Alias {
    target: String,
}

/// An image, as the server describes it.
#[derive(Deserialize)]
struct Image {
    fingerprint: String,
}

/// An image that a server can import: Incus's split form, a tarball about the image and the root tree's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerImage {
    metadata: Vec<u8>,
    archive: PathBuf,
    /// The SHA-256 of both tarballs, one after the other, which is what Incus calls the image's fingerprint.
    pub fingerprint: String,
}

impl ContainerImage {
    /// The container form of an image. It reads all of it.
    ///
    /// # Errors
    /// When the root tree's archive cannot be read.
    pub fn of(image: &BootImage) -> io::Result<Self> {
        let mut header = tar::Header::new_ustar();
        header.set_size(METADATA.len() as u64);
        header.set_mode(0o644);
        let mut tarball = tar::Builder::new(Vec::new());
        tarball.append_data(&mut header, "metadata.yaml", METADATA.as_bytes())?;
        let metadata = tarball.into_inner()?;
        let fingerprint = fingerprint(&metadata, &mut File::open(&image.archive)?)?;
        Ok(Self { metadata, archive: image.archive.clone(), fingerprint })
    }

    fn form(&self) -> io::Result<Form> {
        let archive = File::open(&self.archive)?;
        let length = archive.metadata()?.len();
        let archive = Body::from(tokio::fs::File::from_std(archive));
        let metadata = Part::bytes(self.metadata.clone()).file_name("metadata.tar");
        let rootfs = Part::stream_with_length(archive, length).file_name("root.tar.zst");
        Ok(Form::new().part("metadata", metadata).part("rootfs", rootfs))
    }
}

fn fingerprint(metadata: &[u8], archive: &mut File) -> io::Result<String> {
    let (mut digest, mut buffer) = (Sha256::new_with_prefix(metadata), vec![0; 1 << 20]);
    loop {
        match archive.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}

impl Client {
    /// The fingerprint of the image that goes by this alias, or whose fingerprint begins so.
    ///
    /// # Errors
    /// [`IncusError::ImageMissing`] when there is none.
    pub async fn resolve(&self, image: &str, deadline: Deadline) -> Result<String, IncusError> {
        let look = |path: String| Call::new(Method::GET, path, "look for the image");
        match self.get::<Alias>(look(format!("/1.0/images/aliases/{}", segment(image))), deadline).await {
            Ok(found) => return Ok(found.target),
            Err(IncusError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        match self.get::<Image>(look(format!("/1.0/images/{}", segment(image))), deadline).await {
            Ok(found) => Ok(found.fingerprint),
            Err(IncusError::NotFound { reason, .. }) => {
                Err(IncusError::ImageMissing { image: image.to_owned(), reason })
            }
            Err(error) => Err(error),
        }
    }

    /// Imports an image unless the server has it. The server checks the fingerprint.
    ///
    /// # Errors
    /// [`IncusError`]; a restricted project needs `features.images=true` for images of its own.
    pub async fn import(&self, image: &ContainerImage, deadline: Deadline) -> Result<(), IncusError> {
        if self.has(image, deadline).await? {
            return Ok(());
        }
        let form = image.form().map_err(|error| IncusError::Setting {
            setting: "image",
            problem: format!("{}: {error}", image.archive.display()),
            remedy: "make it again with `coldproof image`".to_owned(),
        })?;
        let call = Call::new(Method::POST, "/1.0/images", "import the image")
            .header("x-incus-filename", "coldproof")
            .header("x-incus-fingerprint", &image.fingerprint)
            .form(form);
        match self.run(call, deadline).await {
            // Another computer may have imported it meanwhile.
            Err(refused) => {
                if self.has(image, deadline).await? {
                    Ok(())
                } else {
                    Err(refused)
                }
            }
            Ok(_) => Ok(()),
        }
    }

    async fn has(&self, image: &ContainerImage, deadline: Deadline) -> Result<bool, IncusError> {
        let look = Call::new(Method::GET, format!("/1.0/images/{}", image.fingerprint), "look for the image");
        match self.get::<Value>(look, deadline).await {
            Ok(_) => Ok(true),
            Err(IncusError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
