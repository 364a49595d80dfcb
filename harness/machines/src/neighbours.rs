//! What others have running where the machines of a run are: none of it is the run's to end.

use std::io;

use crate::{
    ledger::{Ledger, LedgerEntry},
    process::ProcessIdentity,
};

/// A machine of others'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its name.
    pub name: String,
    /// What tells it from another one of this name, and from itself after a restart.
    pub identity: String,
    /// Whether another run of coldproof made it.
    pub of_another_run: bool,
    /// Its processes on this computer, as far as they are known.
    pub processes: Vec<ProcessIdentity>,
}

impl Ledger {
    /// The leases of other runs that are in use, or were kept.
    ///
    /// # Errors
    /// As [`Ledger::entries`].
    pub fn neighbours(&self, run: &str) -> io::Result<Vec<Neighbour>> {
        let others = self.entries()?.into_iter().filter(|entry| entry.run != run && !entry.is_orphaned());
        Ok(others.map(neighbour).collect())
    }
}

fn neighbour(entry: LedgerEntry) -> Neighbour {
    let mut processes = entry.containment.processes(&entry.lease);
    processes.extend(entry.owner);
    Neighbour {
        name: format!("{} of run {}", entry.machine, entry.run),
        identity: format!("lease {}", entry.lease),
        of_another_run: true,
        processes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Containment;

    #[test]
    fn the_leases_of_other_runs_are_neighbours_with_their_owner() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(state.path());
        ledger.prepare().unwrap();
        let owner = ProcessIdentity::current().unwrap();
        let entry = |lease: &str, run: &str, owner: &ProcessIdentity| LedgerEntry {
            lease: lease.into(),
            run: run.into(),
            machine: "m".into(),
            owner: Some(owner.clone()),
            created: 0,
            memory: None,
            containment: Containment::Mark,
            remotes: Vec::new(),
            directories: Vec::new(),
        };
        let dead = ProcessIdentity { start_time: owner.start_time + 1, ..owner.clone() };
        for entry in [entry("a", "this", &owner), entry("b", "another", &owner), entry("c", "dead", &dead)] {
            ledger.write(&entry).unwrap();
        }
        let neighbours = ledger.neighbours("this").unwrap();
        assert_eq!(neighbours.len(), 1, "{neighbours:?}");
        assert_eq!((neighbours[0].identity.as_str(), &neighbours[0].processes), ("lease b", &vec![owner]));
    }
}
