//! The World of a scenario.

use cucumber::World;

use crate::testbed::Testbed;

/// Holds a testbed and nothing else; facts pass between steps as recorded observations.
#[derive(Debug, Default, World)]
pub struct Proof {
    pub(crate) testbed: Testbed,
}
