//! When the units of a switch were started, and for which others systemd kept each waiting.

use serde::{Deserialize, Serialize};

/// The starts of one unit since the switch began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitStarts {
    /// Units that were started as well and that systemd starts first: by this unit's `After=` or by their `Before=`.
    pub after: Vec<String>,
    /// Every start, in the order in which they began.
    pub starts: Vec<Start>,
}

/// One start of a unit: microseconds since the epoch by the guest's clock, as the journal has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When it began, after all that was waited for; of a unit that is up at once, the same as its end.
    pub began_us: u64,
    /// When its job ended; none if it was still under way when the machine was observed.
    pub ended_us: Option<u64>,
    /// The job's result: `done`, `failed`, `timeout`…; empty while it is under way.
    pub result: String,
}
