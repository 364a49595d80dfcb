//! The observer: the static program that observes from inside the guest, built by this crate's build script.

/// The executable.
pub static OBSERVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/observer"));
