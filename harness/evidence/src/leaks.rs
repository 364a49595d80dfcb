//! Where known secrets were seen that have no business there. Values never leave whoever looked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one search for secrets found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaksObservation {
    /// Names of the secrets that were looked for.
    pub searched: Vec<String>,
    /// Names of those whose values are too short, or public in all their parts: nothing is known of them.
    pub unscannable: Vec<String>,
    /// Each kind of place to how much of it there was.
    pub surfaces: BTreeMap<String, Scanned>,
    /// Every secret in a place that is not its own.
    pub sightings: Vec<LeakSighting>,
    /// What could not be looked through.
    pub gaps: Vec<String>,
}

/// How much was looked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned {
    /// Files, processes, git objects, streams.
    pub items: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
}

/// One secret in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeakSighting {
    /// The kind of place, for instance `journal`.
    pub surface: String,
    /// The place itself: a path, a process, a git object.
    pub place: String,
    /// How many bytes stand before it, where it was seen first; within the compression that `form` names.
    pub offset: u64,
    /// The secret's name.
    pub secret: String,
    /// How it is written, for instance `base64` or `plain in gzip`.
    pub form: String,
}
