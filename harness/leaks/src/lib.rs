//! Finds known secrets, in any of their encodings, in a stream of bytes.
//!
//! A [`Matcher`] is built of [`Secret`]s; a [`Scanner`] is fed a stream in chunks of any size and looks through
//! compression. Nothing here does input or output, and what comes out ([`Hit`]) names secrets without holding any.

mod encoding;
mod layer;
mod matcher;
mod pieces;
mod redact;
mod request;
mod rows;
mod scanner;
mod secret;
#[cfg(test)]
mod tests;

pub use encoding::{Encoding, forms};
pub use layer::Layer;
pub use matcher::{BuildError, Matcher};
pub use request::LeaksRequest;
pub use scanner::{Hit, Scanner};
pub use secret::{SHORTEST, Secret};
