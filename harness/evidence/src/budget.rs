//! What ran beside the machines of a run: whether all of it fitted, and what became of that which is not the run's.

use serde::{Deserialize, Serialize};

/// The memory that machines were granted, and the machines of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetObservation {
    /// One a machine of the run, when it was let in.
    pub admissions: Vec<Admission>,
    /// What others had running before a machine of the run was removed, each once.
    pub others: Vec<OtherMachine>,
}

/// One machine, and all that ran when it was let in. It is counted before it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The machine's name.
    pub machine: String,
    /// Memory of the host on which all of them run, in bytes.
    pub host_bytes: u64,
    /// The most that all may take together, where that is declared.
    pub budget_bytes: Option<u64>,
    /// What ran, this machine among it.
    pub running: Vec<Share>,
}

impl Admission {
    /// Counts the machine itself, which is let in.
    #[must_use]
    pub fn of(mut self, machine: &str, run: &str, memory_bytes: u64) -> Self {
        machine.clone_into(&mut self.machine);
        self.running.push(Share { name: machine.to_owned(), owner: format!("run {run}"), memory_bytes });
        self
    }

    /// The memory that there is for all machines, in bytes.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        self.budget_bytes.unwrap_or(self.host_bytes).min(self.host_bytes)
    }

    /// The memory that all of them were granted, in bytes.
    #[must_use]
    pub fn granted_bytes(&self) -> u64 {
        self.running.iter().fold(0, |sum, share| sum.saturating_add(share.memory_bytes))
    }
}

/// A machine that runs, and the most that it may take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its name.
    pub name: String,
    /// `run` and the run's identifier, or `not ours`.
    pub owner: String,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// A machine, or what holds one, that the run did not make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherMachine {
    /// Its name.
    pub name: String,
    /// What tells it from another one of this name, and from itself after a restart.
    pub identity: String,
    /// Whether another run of coldproof made it, which also ends it, at a time of its own.
    pub of_another_run: bool,
    /// Whether it was there after each removal before which it was there.
    pub there_afterwards: bool,
    /// The machine of the run whose removal ended processes of this one, by the receipt.
    pub ended_by: Option<String>,
}
