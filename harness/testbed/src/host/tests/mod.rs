//! Host definitions on disk, good and bad.

mod bad;
mod good;
mod keys;
mod reference;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;

use super::{HostDefinition, HostError};

/// Every key that there is, once, but for `packages`: an image of one's own excludes them.
const COMPLETE: &str = include_str!("complete.toml");

/// A directory with everything that [`COMPLETE`] names.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        for name in ["base.git", "operator", "keys", "ca"] {
            fs::create_dir(directory.path(name)).unwrap();
        }
        directory.write("base.git/HEAD", "ref: refs/heads/main\n");
        directory.write("keys/recovery.txt", "not read when the definition is loaded");
        directory.write("ca/root.pem", &root_certificate());
        directory.write("ca/not-a-certificate.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        directory.write("fault.sh", "true");
        directory.write("ssh_config", "");
        directory.write("user-data.yaml", "#cloud-config\n");
        directory.write("secret-data.yaml", "#cloud-config\n-----BEGIN OPENSSH PRIVATE KEY-----\n");
        directory.write_qcow2("cc-ci.qcow2", 0);
        directory.write_qcow2("overlay.qcow2", 0x100);
        directory.write("keys/open.txt", "");
        fs::set_permissions(directory.path("keys/open.txt"), fs::Permissions::from_mode(0o644)).unwrap();
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file that is its owner's alone.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes the header of a qcow2 of 10 GiB, with or without a backing file.
    fn write_qcow2(&self, name: &str, backing_file_offset: u64) {
        let mut header = [0; 104];
        header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
        header[8..16].copy_from_slice(&backing_file_offset.to_be_bytes());
        header[24..32].copy_from_slice(&(10_u64 << 30).to_be_bytes());
        fs::write(self.path(name), header).unwrap();
    }

    fn load(&self, text: &str) -> Result<HostDefinition, HostError> {
        self.write("coldproof.toml", text);
        HostDefinition::load(&self.path("coldproof.toml"))
    }

    /// The error about `text`, with this directory's own name replaced by `DIR`.
    fn error(&self, text: &str) -> String {
        let error = self.load(text).expect_err("the definition must be refused").to_string();
        error.replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

fn root_certificate() -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}
