//! Machines are let in, and removed, with a look at what runs beside them.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use coldproof_criteria::Need;
use coldproof_evidence::{
    Observed,
    budget::{BudgetObservation, OtherMachine},
};
use coldproof_machines::{
    budget::{Admission, check_alone, host_memory},
    lease::Lease,
    ledger::Ledger,
    neighbours::Neighbour,
    provider::{Machine, Provider},
    receipt::Destroyed,
};

use super::{RunError, lifecycle, setting::Setting};

/// The machine that is resized.
const RESIZED: &str = "subject";

/// What was seen beside the machines of a run.
#[derive(Default)]
pub(super) struct Beside {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    admissions: Vec<Admission>,
    others: Vec<(Neighbour, bool)>,
    /// Why one of the looks failed.
    lost: Option<String>,
}

impl Beside {
    fn admitted(&self, admission: Admission) {
        self.with(|seen| seen.admissions.push(admission));
    }

    fn removed(&self, before: Result<Vec<Neighbour>, String>, after: Result<Vec<Neighbour>, String>) {
        let (before, after) = match (before, after) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(cause), _) | (_, Err(cause)) => return self.with(|seen| seen.lost = Some(cause)),
        };
        self.with(|seen| before.into_iter().for_each(|neighbour| seen.look(neighbour, &after)));
    }

    fn with<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is to be recorded, with what the receipts of the run's own machines say; nothing where none was made.
    pub(super) fn observation(&self, receipts: &[Destroyed]) -> Observed<BudgetObservation> {
        self.with(|seen| match &seen.lost {
            _ if seen.admissions.is_empty() => Observed::NotObserved,
            Some(cause) => Observed::Unavailable { cause: cause.clone() },
            None => Observed::of(BudgetObservation {
                admissions: seen.admissions.clone(),
                others: seen.others.iter().map(|(other, there)| judged_by(receipts, other, *there)).collect(),
            }),
        })
    }
}

impl Seen {
    fn look(&mut self, neighbour: Neighbour, after: &[Neighbour]) {
        let there = after.iter().any(|other| other.identity == neighbour.identity);
        match self.others.iter_mut().find(|(other, _)| other.identity == neighbour.identity) {
            Some((other, was_there)) => {
                *was_there &= there;
                other.processes.extend(neighbour.processes);
            }
            None => self.others.push((neighbour, there)),
        }
    }
}

fn judged_by(receipts: &[Destroyed], other: &Neighbour, there_afterwards: bool) -> OtherMachine {
    let ended = |receipt: &&Destroyed| receipt.processes.iter().any(|process| other.processes.contains(process));
    OtherMachine {
        name: other.name.clone(),
        identity: other.identity.clone(),
        of_another_run: other.of_another_run,
        there_afterwards,
        ended_by: receipts.iter().find(ended).map(|receipt| receipt.machine.clone()),
    }
}

impl Setting<'_> {
    /// Lets a machine of this computer's in, and leaves the others to their provider.
    pub(super) async fn admit(&self, provider: &dyn Provider, name: &str, lease: &mut Lease) -> Result<(), RunError> {
        if provider.is_here() {
            let memory = self.most_memory(name)?;
            self.beside.admitted(lease.admit(memory, |words| self.stopwatch.note(words)).await?);
        }
        Ok(())
    }

    /// Takes over how the machine's provider let it in, where it did.
    pub(super) fn admitted_by_provider(&self, machine: &dyn Machine) {
        machine.admission().into_iter().for_each(|admission| self.beside.admitted(admission));
    }

    /// The most memory that the machine will have. It asks for that at once: whoever waited for more of it while it has
    /// some could wait for one that does the same.
    fn most_memory(&self, name: &str) -> Result<u64, RunError> {
        let declared = self.host.machine.memory.into();
        let larger = lifecycle::larger(declared);
        let resized = name == RESIZED && self.selection.needs(Need::Resize);
        Ok(if resized && larger <= Self::host_memory()? { larger } else { declared })
    }

    /// Whether a machine of this computer's can become as large as that.
    pub(super) async fn check_growth(&self, memory: u64) -> Result<(), RunError> {
        if self.machines().await?.provider.is_here() {
            check_alone(memory, Self::host_memory()?)?;
        }
        Ok(())
    }

    fn host_memory() -> Result<u64, RunError> {
        host_memory().map_err(RunError::io("reading this computer's memory"))
    }

    /// Destroys a machine of the run, where that is judged with a look before and after it at what others have.
    pub(super) async fn destroy(
        &self,
        machine: Box<dyn Machine>,
        evidence: Option<&Path>,
    ) -> Result<Destroyed, RunError> {
        if !self.selection.needs(Need::Budget) {
            return Ok(machine.destroy(evidence).await?);
        }
        let before = self.neighbours().await;
        let receipt = machine.destroy(evidence).await?;
        self.beside.removed(before, self.neighbours().await);
        Ok(receipt)
    }

    async fn neighbours(&self) -> Result<Vec<Neighbour>, String> {
        let look = async {
            let mut found = self.machines().await?.provider.neighbours(self.run()).await?;
            let ledger: &Ledger = self.ledger();
            found.extend(ledger.neighbours(self.run()).map_err(RunError::io("reading the ledger"))?);
            Ok(found)
        };
        look.await.map_err(|error: RunError| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use coldproof_machines::process::ProcessIdentity;

    use super::*;

    fn neighbour(identity: &str, pid: i32) -> Neighbour {
        let process = ProcessIdentity { pid, start_time: 7, boot_id: "b".into() };
        Neighbour { name: identity.into(), identity: identity.into(), of_another_run: false, processes: vec![process] }
    }

    #[test]
    fn what_was_there_before_a_removal_is_looked_for_after_it_and_in_the_receipts() {
        let beside = Beside::default();
        assert_eq!(beside.observation(&[]), Observed::NotObserved);
        beside.admitted(Admission::default());
        beside.removed(Ok(vec![neighbour("a", 1), neighbour("b", 2)]), Ok(vec![neighbour("a", 1), neighbour("c", 3)]));
        beside.removed(Ok(vec![neighbour("a", 4)]), Ok(vec![neighbour("a", 4)]));
        let receipt = Destroyed {
            machine: "subject".into(),
            lease: "l".into(),
            processes: neighbour("a", 4).processes,
            resources: Vec::new(),
        };
        let observed = beside.observation(&[receipt]);
        let others = &observed.facts().unwrap().others;
        let told: Vec<_> = others
            .iter()
            .map(|other| (other.name.as_str(), other.there_afterwards, other.ended_by.as_deref()))
            .collect();
        assert_eq!(told, [("a", true, Some("subject")), ("b", false, None)]);
        beside.removed(Err("the engine went away".into()), Ok(Vec::new()));
        assert!(matches!(beside.observation(&[]), Observed::Unavailable { .. }));
    }
}
