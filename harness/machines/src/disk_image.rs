//! A disk image of somebody's own: it boots with its own boot loader, and holds nothing of the harness.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use coldproof_evidence::Digest;
use serde::Deserialize;

use crate::image::FileDigest;

/// A bootable disk, and the hardware that it expects around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskImage {
    /// The disk (qcow2). It is only read; a machine writes to an overlay.
    pub file: PathBuf,
    /// What starts its boot loader.
    pub firmware: Firmware,
    /// What the disk is attached to.
    pub bus: DiskBus,
    /// The disk's serial number, which `/dev/disk/by-id` shows.
    pub serial: Option<String>,
    /// The network card.
    pub nic: Nic,
    /// How the guest takes commands.
    pub control: Control,
}

/// What starts a boot loader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// SeaBIOS.
    #[default]
    Bios,
    /// OVMF, without Secure Boot.
    Uefi,
}

/// What a disk is attached to, which decides how the guest names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskBus {
    /// `/dev/vda`.
    #[default]
    Virtio,
    /// `/dev/sda`, on AHCI.
    Sata,
    /// `/dev/sda`, on virtio-scsi.
    Scsi,
}

/// The model of a network card.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nic {
    /// virtio-net.
    #[default]
    Virtio,
    /// Intel 82540EM.
    E1000,
    /// Intel 82574L.
    E1000e,
}

/// How a guest takes commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The QEMU guest agent, on the virtio port `org.qemu.guest_agent.0`.
    GuestAgent,
    /// sshd, as root.
    Ssh {
        /// The private key that root accepts.
        key: PathBuf,
    },
    /// The root shell on a virtio console that images built here have.
    Console,
}

/// The file cannot be a machine's disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskImageError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no qcow2.
    #[error("{} is no qcow2; convert it with `qemu-img convert -O qcow2 FILE NEW`", .0.display())]
    Format(PathBuf),
    /// It stands on other files, which would be opened without anybody having named them.
    #[error("{} has {what}; make one file of it with `qemu-img convert -O qcow2 FILE NEW`", path.display())]
    NotSelfContained {
        /// The file.
        path: PathBuf,
        /// What makes it depend on others.
        what: &'static str,
    },
}

/// Where the fields of a qcow2 header are, in bytes; numbers are big-endian.
/// Source: QEMU's `docs/interop/qcow2.txt`.
mod header {
    pub(super) const MAGIC: &[u8] = b"QFI\xfb";
    pub(super) const VERSION: usize = 4;
    pub(super) const BACKING_FILE_OFFSET: usize = 8;
    pub(super) const SIZE: usize = 24;
    pub(super) const CRYPT_METHOD: usize = 32;
    /// From version 3 on.
    pub(super) const INCOMPATIBLE_FEATURES: usize = 72;
    pub(super) const EXTERNAL_DATA_FILE: u64 = 1 << 2;
    pub(super) const LENGTH: usize = 80;
}

/// Looks at the header of the qcow2 `path` without following what it points to, and returns the disk's size in bytes.
///
/// # Errors
/// When the file is no qcow2, or one that does not hold all of the disk itself.
pub fn disk_size(path: &Path) -> Result<u64, DiskImageError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(header::LENGTH as u64).read_to_end(&mut bytes));
    read.map_err(|source| DiskImageError::Io { path: path.to_owned(), source })?;
    let no_qcow2 = || DiskImageError::Format(path.to_owned());
    if bytes.len() < header::LENGTH || !bytes.starts_with(header::MAGIC) {
        return Err(no_qcow2());
    }
    let long = |at: usize| bytes[at..at + 8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let short = |at: usize| long(at) >> 32;
    let depends = match short(header::VERSION) {
        2 | 3 if long(header::BACKING_FILE_OFFSET) != 0 => Some("a backing file"),
        2 | 3 if short(header::CRYPT_METHOD) != 0 => Some("encryption, whose key nobody will type"),
        3 if long(header::INCOMPATIBLE_FEATURES) & header::EXTERNAL_DATA_FILE != 0 => Some("an external data file"),
        2 | 3 => None,
        _ => return Err(no_qcow2()),
    };
    match depends {
        Some(what) => Err(DiskImageError::NotSelfContained { path: path.to_owned(), what }),
        None => Ok(long(header::SIZE)),
    }
}

/// The SHA-256 of the file `path`, as `sha256sum` prints it.
///
/// # Errors
/// When the file cannot be read.
pub fn digest(path: &Path) -> io::Result<Digest> {
    Ok(FileDigest::of(Path::new(""), path.to_string_lossy().as_ref())?.digest)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rstest::rstest;

    use super::*;

    fn qcow2(change: impl FnOnce(&mut Vec<u8>)) -> Result<u64, String> {
        let mut bytes = vec![0; 104];
        bytes[..4].copy_from_slice(header::MAGIC);
        bytes[7] = 3;
        bytes[24..32].copy_from_slice(&(8_u64 << 30).to_be_bytes());
        change(&mut bytes);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        disk_size(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_size_is_the_disks_and_not_the_files() {
        assert_eq!(qcow2(|_| {}), Ok(8 << 30));
        // Version 2 has no features, and something else where version 3 has them.
        let version_2 = |bytes: &mut Vec<u8>| {
            bytes[7] = 2;
            bytes[79] = 0xff;
        };
        assert_eq!(qcow2(version_2), Ok(8 << 30));
    }

    #[rstest]
    #[case::backing_file(|bytes: &mut Vec<u8>| bytes[15] = 0x70, "a backing file")]
    #[case::data_file(|bytes: &mut Vec<u8>| bytes[79] = 4, "an external data file")]
    #[case::encrypted(|bytes: &mut Vec<u8>| bytes[35] = 2, "encryption")]
    #[case::version(|bytes: &mut Vec<u8>| bytes[7] = 4, "is no qcow2")]
    #[case::magic(|bytes: &mut Vec<u8>| bytes[0] = 0, "is no qcow2")]
    #[case::short(|bytes: &mut Vec<u8>| bytes.truncate(60), "is no qcow2")]
    fn what_does_not_hold_the_whole_disk_is_refused(#[case] change: fn(&mut Vec<u8>), #[case] expected: &str) {
        let error = qcow2(change).unwrap_err();
        assert!(error.contains(expected) && error.contains("qemu-img convert"), "{error}");
    }
}
