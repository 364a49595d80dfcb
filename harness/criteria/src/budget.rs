//! `resources.budget`: the machines fit their host together, and those of others are left alone.

use coldproof_evidence::{
    Mismatch, Record,
    budget::{Admission, OtherMachine},
};

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch},
    need::Need,
    resources::mebibytes,
};

pub(crate) const BUDGET: Criterion = Criterion::new(
    "resources.budget",
    "whatever ran at the same time fits the host's memory, and no machine of others was touched",
    &[Need::Budget],
    budget,
)
.of_an_original();

fn budget(record: &Record) -> Option<Judgement> {
    let budget = record.budget.facts()?;
    let mut judgement = Judgement::new("no machine was made");
    for admission in &budget.admissions {
        judgement.subject((admission.granted_bytes() > admission.room_bytes()).then(|| too_much(admission)));
    }
    if let Some(most) = budget.admissions.iter().max_by_key(|admission| admission.granted_bytes()) {
        let (granted, room) = (mebibytes(most.granted_bytes()), mebibytes(most.room_bytes()));
        judgement.quote(format!("at most {granted} of {room} were granted at the same time"));
    }
    for other in &budget.others {
        judgement.subject(other.ended_by.as_deref().map(|machine| touched(other, machine)));
        // Another run ends its own machines. Whoever owns any other one may have ended it at this very moment.
        if other.ended_by.is_none() && !other.there_afterwards && !other.of_another_run {
            judgement.doubt(format!(
                "{} ended while a machine of this run was removed, and nothing tells by whom; prove again",
                other.name
            ));
        }
    }
    Some(judgement)
}

fn too_much(admission: &Admission) -> Mismatch {
    let share = |share: &coldproof_evidence::budget::Share| {
        format!("{} {} ({})", share.name, mebibytes(share.memory_bytes), share.owner)
    };
    let shares: Vec<_> = admission.running.iter().map(share).collect();
    mismatch(
        format!("memory granted when {} was made", admission.machine),
        format!("at most {}", mebibytes(admission.room_bytes())),
        format!("{}: {}", mebibytes(admission.granted_bytes()), shares.join(", ")),
        "end one of these, or make `memory` under [machine] smaller",
    )
}

fn touched(other: &OtherMachine, machine: &str) -> Mismatch {
    mismatch(
        &other.name,
        "left alone",
        format!("the removal of {machine} ended its processes"),
        "report this: nothing but its own machines is a run's to end; `coldproof machines list` shows whose each is",
    )
}
