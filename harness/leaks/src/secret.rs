//! A known secret.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The least number of bytes of a value that can be looked for: a shorter one is found everywhere by chance.
pub const SHORTEST: usize = 8;

/// A value that must be found nowhere but in its own files. It is wiped when dropped and never printed.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Secret {
    /// What reports call it.
    pub name: String,
    /// The value.
    pub value: Zeroizing<String>,
    /// The guest's files that are meant to hold it.
    pub files: Vec<String>,
    /// Whether it is no secret at all (a certificate): what it has in common with a secret proves no leak.
    pub public: bool,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("name", &self.name).field("files", &self.files).finish_non_exhaustive()
    }
}
