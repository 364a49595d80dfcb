//! A switch that lacked something which no host can do without, on a blank machine of its own.

use serde::{Deserialize, Serialize};

use crate::{guest::DeliveredSecret, rebuild::RebuildObservation};

/// What a switch did that was deprived of something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeprivedSwitch {
    /// What was withheld, under every name that the host definition has for it: its path, its key in git, links to it.
    pub withheld: Vec<String>,
    /// The key that was delivered; none where that is what was withheld.
    pub delivered: Option<DeliveredSecret>,
    /// The switch, run once.
    pub switch: RebuildObservation,
}
