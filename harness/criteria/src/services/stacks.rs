//! Each declared stack of a Docker swarm.

use std::collections::{BTreeMap, BTreeSet};

use coldproof_evidence::{
    Mismatch, Observed, Record,
    expectations::ExpectedStack,
    swarm::{SwarmObservation, SwarmService},
};

use crate::{
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch, or_nothing},
    need::Need,
};

pub(crate) const STACKS: Criterion = Criterion::new(
    "services.stacks",
    "each declared stack of a swarm is n/n: all tasks of each of its services run, and they are as many as declared",
    &[Need::System],
    stacks,
)
.requiring(Requires::System)
// The engine's unit, or the one that deploys it, explains that a stack is not there at all.
.blocked_by(&["services.units"])
.declared_when(|expected| !expected.stacks.is_empty())
.of_an_original();

fn stacks(record: &Record) -> Option<Judgement> {
    let system = record.system.facts()?;
    let mut judgement = Judgement::new("the host definition declares no stack");
    let declared = &record.expectations.stacks;
    match &system.swarm {
        Observed::Facts { facts, .. } => {
            declared.iter().for_each(|(service, declared)| stack(service, declared, facts, &mut judgement));
        }
        _ if declared.is_empty() => {}
        Observed::Unavailable { cause } => judgement.doubt(format!("the swarm could not be observed: {cause}")),
        Observed::NotObserved => judgement.doubt("the swarm was not observed"),
    }
    Some(judgement)
}

/// Judges one declared stack: each of its services is a subject, and so is what they add up to.
fn stack(service: &str, declared: &ExpectedStack, swarm: &SwarmObservation, judgement: &mut Judgement) {
    let ExpectedStack { stack, replicas } = declared;
    let services: Vec<_> = swarm.stack(stack).collect();
    if services.is_empty() {
        judgement.absence(mismatch(
            format!("the stack {stack}"),
            format!("{replicas}/{replicas} replicas"),
            absent(swarm),
            format!(
                "have a unit of the host deploy it, and wait until it runs, or correct `stack` under [services.{service}]"
            ),
        ));
        return;
    }
    for service in services.iter().copied() {
        judgement.subject((service.running != service.desired).then(|| short(stack, service)));
    }
    let desired: u64 = services.iter().map(|service| service.desired).sum();
    judgement.subject((desired != *replicas).then(|| {
        let each = services.iter().map(|service| format!("{} of {}", service.desired, service.name));
        mismatch(
            format!("the replicas of the stack {stack}"),
            format!("{replicas} over all its services"),
            format!("{desired} ({})", each.collect::<Vec<_>>().join(", ")),
            format!("correct `replicas` under [services.{service}], or what the host deploys"),
        )
    }));
}

fn absent(swarm: &SwarmObservation) -> String {
    match (&swarm.refusal, swarm.engine) {
        (Some(refusal), _) => format!("no stack at all; the engine says: {refusal}"),
        (None, false) => "no stack at all: no Docker engine runs".to_owned(),
        (None, true) => {
            let stacks: BTreeSet<_> = swarm.services.iter().filter_map(|service| service.stack.as_deref()).collect();
            let stacks: Vec<_> = stacks.into_iter().collect();
            format!("no service of it; the stacks of the swarm: {}", or_nothing(&stacks.join(", ")))
        }
    }
}

fn short(stack: &str, service: &SwarmService) -> Mismatch {
    let SwarmService { name, running, desired, last_error, .. } = service;
    let why = last_error.as_ref().map_or_else(String::new, |error| format!("; its last task says: {error}"));
    mismatch(
        format!("the service {name} of the stack {stack}"),
        format!("{desired}/{desired} tasks run"),
        format!("{running}/{desired}{why}"),
        format!(
            "it must run when the switch has ended: have the unit that deploys the stack wait for it, prove with --keep \
             and read `docker service ps --no-trunc {name}` in the guest"
        ),
    )
}

/// What a second switch changed of the swarm: each service's name, what it was and what it is.
pub(crate) fn changes(before: &SwarmObservation, after: &SwarmObservation) -> Vec<(String, String, String)> {
    let identities = |swarm: &SwarmObservation| -> BTreeMap<_, _> {
        let identity =
            |service: &SwarmService| format!("service {}, specification {}", service.id, service.specification);
        swarm.services.iter().map(|service| (service.name.clone(), identity(service))).collect()
    };
    let (before, mut after) = (identities(before), identities(after));
    let mut changes = Vec::new();
    for (name, was) in before {
        let is = after.remove(&name).unwrap_or_default();
        if is != was {
            changes.push((name, was, is));
        }
    }
    changes.extend(after.into_iter().map(|(name, is)| (name, String::new(), is)));
    changes
}
