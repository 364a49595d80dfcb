//! What the recorder saw of a rebuild while it ran. Job results are signals: afterwards they are gone.

use serde::{Deserialize, Serialize};

/// One run of the rebuild command, recorded by a process in the guest that outlives every connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Names of activation snippets that the output says failed.
    pub failed_snippets: Vec<String>,
    /// Peak memory of the command's own cgroup in bytes (`memory.peak`), where the kernel tells.
    pub memory_peak_bytes: Option<u64>,
    /// Lowest MemAvailable sampled while it ran, in bytes.
    pub least_available_bytes: u64,
    /// User and system CPU time of the command and its children in microseconds.
    pub cpu_us: u64,
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
    /// The last line of its output.
    pub last_line: String,
    /// Memory in use in bytes (MemTotal - MemAvailable).
    pub memory_bytes: u64,
}
