//! Seeded faults: each breaks one thing in a world, and names every criterion that must then fail.

mod deprived;
mod guest;
mod served;
mod source;
mod switch;

use std::{fmt, sync::LazyLock};

use anyhow::Result;
use serde::Serialize;

use crate::draft::Draft;

/// Where a fault shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// In the repositories: no machine is needed to see it.
    Source,
    /// In a machine: a script is run there at some stage.
    Guest,
    /// In the repositories, but only a switch of its own brings it out.
    Switch,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "source",
            Self::Guest => "guest",
            Self::Switch => "switch",
        })
    }
}

/// A fault that can be seeded into a world.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Fault {
    /// Stable name.
    pub name: &'static str,
    /// Where it shows.
    pub layer: Layer,
    /// Every criterion that must fail with it. No other may, though what it keeps from being judged is inconclusive.
    pub criterion: &'static [&'static str],
    /// What is wrong, in a sentence.
    pub summary: &'static str,
    #[serde(skip)]
    pub(crate) how: fn(&mut Draft) -> Result<()>,
}

impl Fault {
    /// Why machines of this provider cannot have the fault, if they cannot.
    #[must_use]
    pub fn impossible_on(&self, provider: &str) -> Option<&'static str> {
        let entry = IMPOSSIBLE.iter().find(|(fault, on, _)| *fault == self.name && *on == provider);
        entry.map(|(_, _, reason)| *reason)
    }
}

/// An engine loads modules of the kernel, writes its settings and mounts file systems of its own.
const NO_SWARM: &str = "an engine for the swarm needs a kernel of its own, which a container has not";

/// Faults that some provider's machines cannot have, with the reason.
const IMPOSSIBLE: &[(&str, &str, &str)] = &[
    (
        "secret-in-core-dump",
        "docker",
        "where a kernel writes core dumps is one setting for a container and its host, which is not the container's to change",
    ),
    (
        "secret-in-core-dump",
        "incus",
        "where a kernel writes core dumps is one setting for a container and its host, which is not the container's to change",
    ),
    (
        "sized-at-first-start",
        "docker",
        "a container reads the whole computer's memory in /proc/meminfo, whatever it is granted",
    ),
    ("memory-nearly-exhausted", "docker", "a container would take the memory that the whole computer has left"),
    ("stack-short-of-replicas", "docker", NO_SWARM),
    ("stack-short-of-replicas", "incus", NO_SWARM),
    ("disk-nearly-filled", "docker", "a container's disk has no limit of its own, so the host's would be filled"),
];

/// Every fault: of the repositories, of a machine, of a switch, of what is served after one, of a switch that lacks
/// something.
#[must_use]
pub fn faults() -> &'static [Fault] {
    static ALL: LazyLock<Vec<Fault>> =
        LazyLock::new(|| [source::FAULTS, guest::FAULTS, switch::FAULTS, served::FAULTS, deprived::FAULTS].concat());
    &ALL
}
