//! What the recorder saw of a rebuild while it ran. Job results are signals: afterwards they are gone.

use serde::{Deserialize, Serialize};

/// One run of the rebuild command, recorded by a process in the guest that outlives every connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RebuildObservation {
    /// The command as it was started.
    pub argv: Vec<String>,
    /// Exit code; none if a signal ended it.
    pub exit_code: Option<i32>,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// When it began and ended: microseconds since the epoch by the guest's clock.
    pub started_us: u64,
    /// See `started_us`.
    pub ended_us: u64,
    /// Standard output and error, merged in order of arrival, line by line.
    pub output: Vec<String>,
    /// Every JobRemoved signal since before the command began.
    pub jobs: Vec<JobResult>,
    /// Whether the subscription lived from before the command began until after it ended.
    pub subscribed_throughout: bool,
    /// When it was interrupted, as by a systemd that executes itself anew: for these spans only the journal can tell.
    pub subscription_gaps: Vec<Span>,
    /// Names of activation snippets that the output says failed.
    pub failed_snippets: Vec<String>,
    /// Lowest MemAvailable sampled while it ran, in bytes.
    pub least_available_bytes: u64,
    /// Peak memory in bytes of everything that works for the rebuild: the command, the transient unit in which
    /// nixos-rebuild activates, and the Nix daemon where there is one; none where nothing tells.
    pub memory_peak_bytes: Option<u64>,
    /// User and system CPU time of the same, in microseconds.
    pub cpu_us: u64,
    /// The most by which the store's file system grew at any time while it ran, in bytes, as sampled.
    pub disk_peak_bytes: Option<u64>,
    /// The least that was free on the store's file system for whoever is not root, in bytes, as sampled.
    pub least_free_bytes: Option<u64>,
    /// How memory and CPU time were measured, in words for a person.
    pub measured: String,
}

/// A span of time: microseconds since the epoch by the guest's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its beginning.
    pub from_us: u64,
    /// Its end.
    pub to_us: u64,
}

impl Span {
    /// Whether the moment lies in it, its ends included.
    #[must_use]
    pub const fn contains(&self, at_us: u64) -> bool {
        self.from_us <= at_us && at_us <= self.to_us
    }
}

/// One finished systemd job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// The unit.
    pub unit: String,
    /// `done`, `failed`, `dependency`, `canceled`, `timeout`, `skipped`…
    pub result: String,
    /// Realtime in microseconds.
    pub at_us: u64,
}

/// What the recorder writes while the rebuild runs, so that it can be followed live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whether it has ended.
    pub ended: bool,
    /// Milliseconds since it began.
    pub elapsed_ms: u64,
    /// The last line of the guest's journal.
    pub journal_line: String,
    /// Memory in use in bytes (MemTotal - MemAvailable).
    pub memory_bytes: u64,
}
