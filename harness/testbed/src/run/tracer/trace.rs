//! Each unit once, from the first state, with nothing but its predecessors before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use coldproof_criteria::ordering::predecessors;
use coldproof_evidence::ordering::{OrderingObservation, TracedUnit};

use super::{guest::Tracer, order::UnitProperties};
use crate::{race, run::RunError};

/// What has run since the first state, and how long each unit took.
pub(super) struct World<'a> {
    tracer: &'a Tracer<'a>,
    /// In the order of their starts.
    started: Vec<String>,
    rewinds: usize,
    took: BTreeMap<String, Duration>,
}

impl<'a> World<'a> {
    fn new(tracer: &'a Tracer<'a>) -> Self {
        Self { tracer, started: Vec::new(), rewinds: 0, took: BTreeMap::new() }
    }

    /// Brings the first state back.
    pub(super) async fn rewind(&mut self) -> Result<(), RunError> {
        self.rewinds += 1;
        self.tracer.rewind(self.rewinds, &self.started).await?;
        self.started.clear();
        Ok(())
    }

    /// Starts a unit under strace; returns systemd's result.
    async fn trace(&mut self, unit: &str) -> Result<String, RunError> {
        let began = Instant::now();
        let result = self.tracer.start(unit, self.half(), true).await?;
        self.took.insert(unit.to_owned(), began.elapsed());
        self.note(unit);
        Ok(result)
    }

    /// Starts a unit only because others need it; returns systemd's result.
    pub(super) async fn start(&mut self, unit: &str) -> Result<String, RunError> {
        let result = self.tracer.start(unit, self.half(), false).await?;
        self.note(unit);
        Ok(result)
    }

    /// Remembers that a unit was started, so that it is stopped in time.
    pub(super) fn note(&mut self, unit: &str) {
        if !self.started.iter().any(|started| started == unit) {
            self.started.push(unit.to_owned());
        }
    }

    /// How long two units may take before one of them is taken to wait for the other: longer than both under strace.
    pub(super) fn limit(&self, units: [&str; 2]) -> Duration {
        let known = units.iter().filter_map(|unit| self.took.get(*unit));
        (known.sum::<Duration>() + Duration::from_secs(2)).min(self.half())
    }

    /// Half of what the machine has for everything.
    fn half(&self) -> Duration {
        Duration::from(self.tracer.setting.host.machine.deadline) / 2
    }
}

/// Traces every unit that was held back. What comes before a unit is started first; where more has been started than
/// comes before it, the first state is brought back.
pub(super) async fn units<'a>(
    tracer: &'a Tracer<'a>,
    units: &BTreeMap<String, UnitProperties>,
    held: &[String],
    ordering: &mut OrderingObservation,
) -> Result<World<'a>, RunError> {
    let mut world = World::new(tracer);
    let before: BTreeMap<&str, BTreeSet<&str>> = held
        .iter()
        .map(|unit| {
            let mut before = predecessors(&ordering.transaction, unit);
            before.retain(|unit| held.iter().any(|held| held == unit));
            (unit.as_str(), before)
        })
        .collect();
    // Whatever comes before a unit has fewer before it.
    let mut queue: Vec<&str> = before.keys().copied().collect();
    queue.sort_by_key(|unit| before[unit].len());

    let mut traced = Vec::new();
    let mut untold: Vec<TracedUnit> = Vec::new();
    for (number, unit) in queue.iter().enumerate() {
        tracer.tell(&format!("tracing {unit} ({} of {})", number + 1, queue.len()));
        if !world.started.iter().all(|started| before[unit].contains(started.as_str())) {
            traced.append(&mut told(tracer, &mut untold).await?);
            world.rewind().await?;
        }
        for predecessor in queue[..number].iter().filter(|other| before[unit].contains(**other)) {
            if !world.started.iter().any(|started| started == predecessor) {
                world.start(predecessor).await?;
            }
        }
        let result = world.trace(unit).await?;
        let private_tmp = units.get(*unit).is_some_and(|unit| unit.private_tmp);
        untold.push(TracedUnit { unit: (*unit).to_owned(), result, private_tmp, ..TracedUnit::default() });
    }
    traced.append(&mut told(tracer, &mut untold).await?);
    race::keep_shared(&mut traced);
    ordering.traced = traced;
    Ok(world)
}

/// Reads the traces of units, as late as possible: what a service does after it has started is part of them.
async fn told(tracer: &Tracer<'_>, untold: &mut Vec<TracedUnit>) -> Result<Vec<TracedUnit>, RunError> {
    let mut units = std::mem::take(untold);
    for unit in &mut units {
        let trace = tracer.trace(&unit.unit).await?;
        (unit.accesses, unit.touched) = race::summarise(&race::calls(&trace));
    }
    Ok(units)
}
