//! Unpacking a distribution's kernel, so that the machine does not have to.
//!
//! A `bzImage` is a small loader with a compressed `vmlinux` behind it; QEMU can start the `vmlinux`
//! itself through its PVH entry. Where it lies is said by the boot protocol's header (the kernel's
//! Documentation/arch/x86/boot.rst).

use std::io::{Read as _, Write};

use ruzstd::decoding::StreamingDecoder;

/// Why a kernel cannot be unpacked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KernelError {
    /// Not a kernel of boot protocol 2.08 or later.
    #[error("the kernel package's kernel is no bzImage that says where its payload lies: {0}")]
    NotBzImage(&'static str),
    /// Compressed in a way that is not supported.
    #[error("the kernel's payload is compressed with {0}; only zstd is supported: choose a suite whose kernel uses it")]
    Compression(&'static str),
    /// The payload does not unpack to a kernel.
    #[error("the kernel's payload is damaged: {0}")]
    Damaged(String),
    /// There is no room for it, for instance.
    #[error("the kernel cannot be written: {0}")]
    Unwritten(String),
}

const SETUP_SECTS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
const SECTOR: usize = 512;
/// How much is unpacked at a time, in bytes.
const CHUNK: usize = 1 << 20;
const ELF: &[u8] = b"\x7fELF";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// Writes the `vmlinux` inside a `bzImage`, which may be several times as large as all that is held of it at a time.
///
/// # Errors
/// When it is none, or none that can be unpacked, or when it cannot be written.
pub(super) fn unpack(bz_image: &[u8], vmlinux: &mut impl Write) -> Result<(), KernelError> {
    let payload = payload(bz_image)?;
    if !payload.starts_with(ZSTD) {
        return Err(KernelError::Compression(compression(payload)));
    }
    let damaged = |error: &dyn std::fmt::Display| KernelError::Damaged(error.to_string());
    let mut decoder = StreamingDecoder::new(payload).map_err(|error| damaged(&error))?;
    let mut chunk = vec![0; CHUNK];
    // The decoder fills all of a chunk but the last.
    let mut length = decoder.read(&mut chunk).map_err(|error| damaged(&error))?;
    if !chunk[..length].starts_with(ELF) {
        return Err(damaged(&"it unpacks to something that is no ELF file"));
    }
    // Reading stops at the frame's end: what follows is the unpacked length, for the loader.
    while length > 0 {
        vmlinux.write_all(&chunk[..length]).map_err(|error| KernelError::Unwritten(error.to_string()))?;
        length = decoder.read(&mut chunk).map_err(|error| damaged(&error))?;
    }
    Ok(())
}

fn payload(image: &[u8]) -> Result<&[u8], KernelError> {
    let short = || KernelError::NotBzImage("it ends too early");
    if image.get(HEADER_MAGIC..HEADER_MAGIC + 4) != Some(b"HdrS") {
        return Err(KernelError::NotBzImage("it has no HdrS header"));
    }
    let word = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let version = image.get(VERSION..VERSION + 2).ok_or_else(short)?;
    let version = u16::from_le_bytes([version[0], version[1]]);
    if version < 0x208 {
        return Err(KernelError::NotBzImage("its boot protocol is older than 2.08"));
    }
    // "For backwards compatibility, if the setup_sects field contains 0, the real value is 4."
    let sectors = match image[SETUP_SECTS] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * SECTOR + word(PAYLOAD_OFFSET).ok_or_else(short)?;
    let end = start + word(PAYLOAD_LENGTH).ok_or_else(short)?;
    image.get(start..end).ok_or_else(short)
}

fn compression(payload: &[u8]) -> &'static str {
    match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [0x1f, 0x8b, ..] => "gzip",
        [0x5d, 0, 0, ..] => "lzma",
        [b'B', b'Z', b'h', ..] => "bzip2",
        [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        _ => "an unknown method",
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn bz_image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 3 * SECTOR + 16];
        image[SETUP_SECTS] = 2;
        image[HEADER_MAGIC..HEADER_MAGIC + 4].copy_from_slice(b"HdrS");
        image[VERSION..VERSION + 2].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(b"trailing bytes that are not payload");
        image
    }

    fn vmlinux(bz_image: &[u8]) -> Result<Vec<u8>, KernelError> {
        let mut vmlinux = Vec::new();
        unpack(bz_image, &mut vmlinux).map(|()| vmlinux)
    }

    fn zstd(kernel: &[u8]) -> Vec<u8> {
        let mut payload = compress_to_vec(kernel, CompressionLevel::Fastest);
        payload.extend_from_slice(&u32::try_from(kernel.len()).unwrap().to_le_bytes());
        payload
    }

    #[test]
    fn unpacks_a_kernel() {
        let kernel = [ELF, &[7; 3 * CHUNK]].concat();
        assert_eq!(vmlinux(&bz_image(&zstd(&kernel))).unwrap(), kernel);
    }

    #[rstest]
    #[case(b"\xfd7zXZ\0", "xz")]
    #[case(b"\x1f\x8b\x08", "gzip")]
    #[case(b"hello", "an unknown method")]
    fn names_other_compressions(#[case] payload: &[u8], #[case] name: &'static str) {
        assert_eq!(vmlinux(&bz_image(payload)), Err(KernelError::Compression(name)));
    }

    #[test]
    fn refuses_what_is_no_kernel() {
        assert!(matches!(vmlinux(b""), Err(KernelError::NotBzImage(_))));
        assert!(matches!(vmlinux(&bz_image(&zstd(b"no ELF"))), Err(KernelError::Damaged(_))));
        let mut old = bz_image(b"");
        old[VERSION] = 7;
        old[VERSION + 1] = 2;
        assert_eq!(vmlinux(&old), Err(KernelError::NotBzImage("its boot protocol is older than 2.08")));
    }

    proptest::proptest! {
        #[test]
        fn no_cut_or_changed_kernel_panics(length in 0_usize..1800, at in 0_usize..1800, byte: u8) {
            let mut image = bz_image(&zstd(&[ELF, &[1, 2, 3, 4].repeat(40)].concat()));
            image.truncate(length);
            if let Some(changed) = image.get_mut(at) {
                *changed = byte;
            }
            // Any answer will do.
            drop(vmlinux(&image));
        }
    }
}
