//! What the units of a switch touch when each runs by itself, and in which order systemd would run them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The units of one switch, traced one at a time on a machine of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderingObservation {
    /// Every unit that had a job in the switch, with its place in the order; services and all else.
    pub transaction: BTreeMap<String, UnitOrder>,
    /// The services that were traced, in the order in which they ran.
    pub traced: Vec<TracedUnit>,
    /// What happened when pairs of them were made to meet.
    pub trials: Vec<Trial>,
    /// Why the trace may lack something, if so.
    pub gaps: Vec<String>,
}

/// A unit's place in the order of a switch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitOrder {
    /// Units of the same switch that systemd starts first: by this unit's `After=` or by their `Before=`.
    pub after: Vec<String>,
    /// Units of the same switch that systemd restarts along with this one (`Requires=`, `BindsTo=`, `PartOf=` on it).
    pub restarts: Vec<String>,
}

/// What one unit did when it ran with nothing but its predecessors before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedUnit {
    /// The unit.
    pub unit: String,
    /// `Result` of the service: `success`, `exit-code`, `exec-condition`…
    pub result: String,
    /// Whether it has a /tmp of its own, so that what it does there is no business of others.
    pub private_tmp: bool,
    /// The paths that it touched and that another traced unit touched as well, each way of touching once.
    pub accesses: Vec<Access>,
    /// How many paths it touched in all.
    pub touched: usize,
}

/// One way in which a unit touched one path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Access {
    /// The path, absolute.
    pub path: String,
    /// What was done.
    pub effect: Effect,
    /// The system call that did it first, for instance `mkdir`.
    pub call: String,
    /// Whether the path was not there.
    pub missing: bool,
    /// Files that the unit held locked exclusively whenever it did this.
    pub locks: Vec<String>,
}

/// What a system call does to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Looks whether it is there, or reads it. So does a call that fails: who finds nothing decides by that as well.
    Read,
    /// Reads the names in a directory.
    List,
    /// Appends to a file.
    Append,
    /// Changes a file that has or gets this name.
    Write,
    /// Makes or removes the name itself.
    Name,
    /// Makes a directory.
    MakeDirectory,
    /// Puts a whole tree into place, or takes it away: whatever is below changes with it.
    Tree,
}

/// Two units, made to meet on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The unit that was stopped in the middle.
    pub stopped: String,
    /// The unit that then ran from its beginning to its end.
    pub meanwhile: String,
    /// The system call after which the first one was stopped.
    pub call: String,
    /// The path that the call was about.
    pub path: String,
    /// Each of the two that failed, to its last words.
    pub failed: BTreeMap<String, String>,
    /// Why the two did not meet, if they did not.
    pub missed: Option<String>,
}
