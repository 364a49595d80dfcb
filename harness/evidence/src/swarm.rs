//! What the Docker engine in the guest says of its swarm.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What the engine answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmObservation {
    /// Whether an engine runs.
    pub engine: bool,
    /// What the engine said where it does not manage a swarm; it then has no services.
    #[serde(default)]
    pub refusal: Option<String>,
    /// Every service of the swarm, by name.
    pub services: Vec<SwarmService>,
}

impl SwarmObservation {
    /// The services of one stack.
    pub fn stack<'s>(&'s self, stack: &'s str) -> impl Iterator<Item = &'s SwarmService> {
        self.services.iter().filter(move |service| service.stack.as_deref() == Some(stack))
    }
}

/// One service of a swarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmService {
    /// Its name, with that of its stack: `ci_web`.
    pub name: String,
    /// Its id, which only a service that was made anew changes.
    pub id: String,
    /// The stack that it belongs to, by its label `com.docker.stack.namespace`.
    #[serde(default)]
    pub stack: Option<String>,
    /// Digest of what it is to be, as the engine has it.
    pub specification: Digest,
    /// How many of its tasks run.
    pub running: u64,
    /// How many should.
    pub desired: u64,
    /// What the last of its tasks that went wrong said, where not all run that should.
    #[serde(default)]
    pub last_error: Option<String>,
}
