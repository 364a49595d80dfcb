//! The trials of a self-test: each writes a world, proves it by every criterion, and compares.

use std::time::Instant;

use anyhow::Result;
use coldproof_criteria::{CRITERIA, Criterion};
use coldproof_evidence::{bundle::SealedBundle, record::RunContext};
use coldproof_reference::{Fault, Layer};
use coldproof_selftest::{Matrix, Outcome, Trial};
use coldproof_testbed::{
    host::{HostDefinition, Provider},
    run::{self, ErrorKind, Plan, Reach, RunError},
};
use futures::{StreamExt as _, stream};

use super::display::{Display, Line};
use crate::world::ReferenceWorld;

/// Where the trials' machines come from.
pub(super) struct Machines {
    provider: Option<Provider>,
    host: Option<HostDefinition>,
}

impl Machines {
    /// Those of `provider`, or else of the one that `host` names, or else the reference host's.
    pub(super) fn new(provider: Option<Provider>, host: Option<HostDefinition>) -> Self {
        Self { provider: provider.or_else(|| host.as_ref().map(|host| host.machine.provider)), host }
    }

    /// Hands a world's host what the other one declares of its server.
    fn equip(&self, host: &mut HostDefinition) {
        if let Some(other) = &self.host {
            host.machine.incus.clone_from(&other.machine.incus);
        }
    }
}

/// Proves the clean host first: where that cannot be had, no fault would tell anything. Then `jobs` faults at a time.
pub(super) async fn run(faults: Vec<&'static Fault>, machines: &Machines, jobs: usize) -> Result<Matrix> {
    let (began, day) = (Instant::now(), jiff::Timestamp::now().strftime("%Y-%m-%d").to_string());
    let display = Display::new(faults.len() + 1);
    let (clean, context) = clean(machines).await?;
    display.ended(&clean);
    let mut trials = vec![clean];
    if trials[0].outcome != Outcome::Inconclusive {
        trials.extend(side_by_side(&faults, machines, &context.provider, jobs, &display).await);
    }
    Ok(Matrix::new(trials, &context, day, jobs, millis(began)))
}

/// The clean host's trial, and on what it was made. What the caller asked wrongly is an error.
async fn clean(machines: &Machines) -> Result<(Trial, RunContext)> {
    let began = Instant::now();
    match prove(None, machines).await {
        Ok(SealedBundle { record, findings, .. }) => {
            let trial = Trial::judged(None, &record, &findings, millis(began));
            Ok((trial, record.context))
        }
        Err(error) if is_the_callers(&error) => Err(error),
        Err(error) => Ok((Trial::inconclusive(None, format!("{error:#}"), millis(began)), RunContext::default())),
    }
}

/// The faults' trials in the order of the faults. They are no tasks of their own: whoever drops this drops them with it,
/// while the runtime still runs that their machines need in order to go away.
async fn side_by_side(
    faults: &[&'static Fault],
    machines: &Machines,
    provider_name: &str,
    jobs: usize,
    display: &Display,
) -> Vec<Trial> {
    let trials = faults.iter().enumerate().map(async |(position, &fault)| {
        let trial = match fault.impossible_on(provider_name) {
            Some(reason) => Trial::impossible(fault, reason),
            None => faulty(fault, machines).await,
        };
        display.ended(&trial);
        (position, trial)
    });
    let mut trials: Vec<_> = stream::iter(trials).buffer_unordered(jobs).collect().await;
    trials.sort_by_key(|(position, _)| *position);
    trials.into_iter().map(|(_, trial)| trial).collect()
}

async fn faulty(fault: &'static Fault, machines: &Machines) -> Trial {
    let began = Instant::now();
    match prove(Some(fault), machines).await {
        Ok(bundle) => Trial::judged(Some(fault), &bundle.record, &bundle.findings, millis(began)),
        Err(error) => Trial::inconclusive(Some(fault), format!("{error:#}"), millis(began)),
    }
}

/// Proves a fresh world.
async fn prove(fault: Option<&'static Fault>, machines: &Machines) -> Result<SealedBundle> {
    let line = Line::new(fault.map(|fault| fault.name));
    let world = ReferenceWorld::write(fault.map(|fault| fault.name)).await?;
    let mut host = HostDefinition::load(&world.definition())?;
    machines.equip(&mut host);
    let mut plan = Plan::new(world.dir.join("bundle"), coldproof_reference::image_recipe());
    plan.provider = machines.provider;
    if let Some(fault) = fault {
        plan.only = judged_by(fault);
        if fault.layer == Layer::Source {
            plan.at_most = Reach::Source;
        }
    }
    Ok(run::run(&host, &plan, &line).await?)
}

/// Every criterion, but for those that take a machine, or another start of one, for themselves and that the fault does
/// not list: what they look at, a clean host shows as well.
fn judged_by(fault: &Fault) -> Vec<String> {
    let apart = |criterion: &Criterion| criterion.needs.iter().any(|need| need.is_apart());
    let judging = CRITERIA.iter().filter(|c| !apart(c) || fault.criterion.contains(&c.name));
    judging.map(|criterion| criterion.name.to_owned()).collect()
}

fn is_the_callers(error: &anyhow::Error) -> bool {
    error.downcast_ref::<RunError>().is_some_and(|error| error.kind() == ErrorKind::Definition)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
