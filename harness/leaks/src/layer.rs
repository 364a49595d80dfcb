//! Compression that a scanner looks through. What only looks compressed ends in an error, which means nothing.

use std::{
    fmt,
    io::{self, Write},
};

use flate2::write::{MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use serde::{Deserialize, Serialize};

use crate::scanner::Scanner;

/// One kind of compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// RFC 1950, as in git's loose objects.
    Zlib,
    /// RFC 1952.
    Gzip,
    /// RFC 8878, as in core dumps that systemd keeps.
    Zstd,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zlib => "zlib",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// As many bytes of a stream's beginning tell how it is compressed.
pub(crate) const SNIFFED: usize = 4;

impl Layer {
    /// What the first bytes look like.
    pub(crate) fn sniff(head: &[u8]) -> Option<Self> {
        match *head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            // Deflate with a window of 32 KiB and no dictionary; the two bytes are a multiple of 31.
            [0x78, flags, ..] if flags & 0x20 == 0 && (0x7800 | u16::from(flags)).is_multiple_of(31) => {
                Some(Self::Zlib)
            }
            _ => None,
        }
    }
}

/// Decompresses what is pushed into it and passes it on to a scanner of its own.
pub(crate) enum Decoder<'m> {
    Zlib(Box<ZlibDecoder<Scanner<'m>>>),
    Gzip(Box<MultiGzDecoder<Scanner<'m>>>),
    Zstd(Box<Zstd<'m>>),
}

impl<'m> Decoder<'m> {
    pub(crate) fn new(layer: Layer, inner: Scanner<'m>) -> Self {
        match layer {
            Layer::Zlib => Self::Zlib(Box::new(ZlibDecoder::new(inner))),
            Layer::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(inner))),
            Layer::Zstd => Self::Zstd(Box::new(Zstd::new(inner))),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            // Bytes after the stream's end are not the decoder's: it takes none of them.
            Self::Zlib(decoder) => write_while_taken(&mut **decoder, bytes),
            Self::Gzip(decoder) => write_while_taken(&mut **decoder, bytes),
            Self::Zstd(decoder) => decoder.push(bytes),
        }
    }

    /// The scanner with everything that could be decompressed.
    pub(crate) fn into_scanner(self) -> Scanner<'m> {
        match self {
            Self::Zlib(mut decoder) => {
                let _ = decoder.try_finish();
                std::mem::replace(decoder.get_mut(), Scanner::closed())
            }
            Self::Gzip(mut decoder) => {
                let _ = decoder.try_finish();
                std::mem::replace(decoder.get_mut(), Scanner::closed())
            }
            Self::Zstd(mut decoder) => {
                let _ = decoder.decode(true);
                decoder.inner
            }
        }
    }
}

fn write_while_taken(decoder: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match decoder.write(bytes)? {
            0 => break,
            taken => bytes = &bytes[taken..],
        }
    }
    Ok(())
}

/// A decoder of zstd frames that takes them in pieces. The crate's own wants a whole block at a time.
pub(crate) struct Zstd<'m> {
    inner: Scanner<'m>,
    frames: FrameDecoder,
    begun: bool,
    pending: Vec<u8>,
}

/// The largest block (RFC 8878, section 3.1.1.2) with its header and the frame's, and a checksum.
const LARGEST_BLOCK: usize = (128 << 10) + 3 + 18 + 4;

impl<'m> Zstd<'m> {
    fn new(inner: Scanner<'m>) -> Self {
        Self { inner, frames: FrameDecoder::new(), begun: false, pending: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < LARGEST_BLOCK { Ok(()) } else { self.decode(false) }
    }

    /// Decodes blocks while one is sure to be complete, or, at the end, while there is any.
    fn decode(&mut self, end: bool) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        while rest.len() >= if end { SNIFFED } else { LARGEST_BLOCK } {
            if !self.begun || self.frames.is_finished() {
                // Frames may follow each other.
                self.frames.reset(&mut rest).map_err(io::Error::other)?;
                self.begun = true;
            }
            self.frames.decode_blocks(&mut rest, BlockDecodingStrategy::UptoBlocks(1)).map_err(io::Error::other)?;
            self.frames.collect_to_writer(&mut self.inner)?;
        }
        self.pending = rest.to_vec();
        Ok(())
    }
}
