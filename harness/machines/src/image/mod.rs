//! The blank image: built from a recipe once, kept by its recipe's key, checked at each use.
//!
//! [`ImageStore::ensure`] is the way in. An image is three files that boot without a boot loader:
//! the root disk, an uncompressed kernel and a small initial RAM disk.

mod apt_sources;
mod build;
mod digests;
mod error;
mod initrd;
mod kernel;
mod manifest;
mod prune;
mod pypi;
mod recipe;
mod record;
mod step;
mod store;
mod tools;

pub use apt_sources::{Mirror, MirrorError, mirror};
pub use digests::FileDigest;
pub use error::ImageError;
pub use initrd::InitrdError;
pub use kernel::KernelError;
pub(crate) use prune::mark_used;
pub use pypi::fetch as fetch_binary;
pub use recipe::{GuestFile, PypiBinary, Recipe};
pub use record::Image;
pub use store::ImageStore;
pub use tools::{MissingTools, Tool, tools};
