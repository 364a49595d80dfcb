//! The circumstances in which a failed unit was started: what it had waited for, and what it had not.

use std::collections::BTreeMap;

use coldproof_evidence::{
    guest::SystemObservation,
    ordering::UnitOrder,
    starts::{Start, UnitStarts},
};

use super::{HARMLESS_JOBS, units};
use crate::ordering::predecessors;

/// Units that are worth a person's time; the record has all of them.
const SHOWN: usize = 8;

/// Of the units that one may have met, those that are named in one line.
const SUSPECTS: usize = 3;

/// Units that do work or hold what others use; what groups or triggers them is in nobody's way.
const WORKING: [&str; 4] = [".service", ".socket", ".mount", ".swap"];

/// The start of a unit that ended in its failure, among the starts of all others.
pub(super) struct FailedStart<'r> {
    unit: &'r str,
    start: &'r Start,
    /// Until when the unit ran.
    failed_us: u64,
    system: &'r SystemObservation,
    order: BTreeMap<String, UnitOrder>,
}

/// Each unit that failed and was started while others were still starting that nothing orders against it, a line each.
pub(super) fn suspicions(system: &SystemObservation) -> String {
    let failed = system.starts.keys().filter_map(|unit| FailedStart::of(unit, system));
    let lines = failed.filter_map(|failed| {
        let met = failed.still_starting();
        let (shown, more) = met.split_at(met.len().min(SUSPECTS));
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        let verb = if met.len() == 1 { "was" } else { "were" };
        let unit = failed.unit;
        let text =
            format!("\n{unit} was started while {}{more} {verb} still starting: nothing orders them", shown.join(", "));
        (!met.is_empty()).then_some(text)
    });
    lines.take(SHOWN).collect()
}

/// Another unit's start, near to the failed one.
struct Other<'r> {
    unit: &'r str,
    start: &'r Start,
}

impl<'r> FailedStart<'r> {
    /// The first start of the unit that came to nothing; none where none was recorded.
    pub(super) fn of(unit: &'r str, system: &'r SystemObservation) -> Option<Self> {
        let starts = &system.starts.get(unit)?.starts;
        let failures = system.journal.failures.iter();
        let failures = failures.filter(|failure| failure.unit == unit && !units::is_harmless(failure));
        let failed_us =
            failures.map(|failure| failure.at_us).find(|at| starts.iter().any(|start| start.began_us <= *at));
        let start = match failed_us {
            Some(at) => starts.iter().rev().find(|start| start.began_us <= at)?,
            None => starts
                .iter()
                .find(|start| start.ended_us.is_some() && !HARMLESS_JOBS.contains(&start.result.as_str()))?,
        };
        let failed_us = failed_us.or(start.ended_us).unwrap_or(u64::MAX).max(start.began_us);
        let order = |starts: &UnitStarts| UnitOrder { after: starts.after.clone(), restarts: Vec::new() };
        let order = system.starts.iter().map(|(unit, starts)| (unit.clone(), order(starts))).collect();
        was_tried(start).then_some(Self { unit, start, failed_us, system, order })
    }

    /// The units that nothing orders against this one and that were still starting when it was started.
    pub(super) fn still_starting(&self) -> Vec<&'r str> {
        let here = self.start.began_us;
        let met = self
            .unordered()
            .into_iter()
            .filter(|other| other.start.began_us <= here && other.start.ended_us.is_none_or(|ended| here < ended));
        met.map(|other| other.unit).collect()
    }

    /// What it had waited for and what ran meanwhile, to be put below the unit's last words.
    pub(super) fn told(&self) -> String {
        let waited = self.waited_for();
        let mut text = match waited.as_slice() {
            [] => "\nsystemd had it wait for no other unit of the switch".to_owned(),
            _ => format!("\nit had waited for:{}", self.listed(&waited)),
        };
        let mut late = self.others(|unit| self.starts_before(unit));
        late.retain(|other| self.meets(other));
        if !late.is_empty() {
            text += &format!("\nit is ordered after these, which were asked for too late:{}", self.listed(&late));
        }
        let unordered = self.unordered();
        if !unordered.is_empty() {
            text += "\nnothing orders it against these, which ran at the same time; After= would, or a lock that both take:";
            text += &self.listed(&unordered);
        }
        text
    }

    /// The direct predecessors whose jobs had ended: of a target, what that had waited for.
    fn waited_for(&self) -> Vec<Other<'r>> {
        let (mut open, mut seen) = (vec![self.unit], Vec::new());
        while let Some(unit) = open.pop() {
            for before in self.system.starts.get(unit).into_iter().flat_map(|starts| &starts.after) {
                if !seen.contains(&before.as_str()) {
                    seen.push(before);
                    open.extend((!works(before)).then_some(before.as_str()));
                }
            }
        }
        let ended = |other: &Other<'_>| other.start.ended_us.is_some_and(|ended| ended <= self.start.began_us);
        let mut waited = self.others(|unit| seen.contains(&unit));
        waited.retain(ended);
        waited.sort_by_key(|other| std::cmp::Reverse(other.start.ended_us));
        waited
    }

    /// What ran at the same time without an order, what was itself starting first.
    fn unordered(&self) -> Vec<Other<'r>> {
        let free = |unit: &str| !self.starts_before(unit) && !predecessors(&self.order, unit).contains(self.unit);
        let mut unordered = self.others(free);
        unordered.retain(|other| self.meets(other) || self.is_up(other));
        let distance = |other: &Other<'_>| other.start.began_us.abs_diff(self.start.began_us);
        unordered.sort_by_key(|other| (!self.meets(other), distance(other)));
        unordered
    }

    /// The last start of each of these units that began before this unit failed.
    fn others(&self, which: impl Fn(&str) -> bool) -> Vec<Other<'r>> {
        let here = |(unit, starts): (&'r String, &'r UnitStarts)| {
            let mut before = starts.starts.iter().rev().filter(|start| was_tried(start));
            let start = before.find(|start| start.began_us <= self.failed_us)?;
            let skipped = units::unit(self.system, unit).is_some_and(|unit| !unit.condition_met);
            let counts = unit != self.unit && works(unit) && !skipped && !units::is_the_switch(unit) && which(unit);
            counts.then_some(Other { unit, start })
        };
        self.system.starts.iter().filter_map(here).collect()
    }

    fn starts_before(&self, unit: &str) -> bool {
        predecessors(&self.order, self.unit).contains(unit)
    }

    /// Whether the other one was starting at any time while this unit ran.
    fn meets(&self, other: &Other<'_>) -> bool {
        other.start.ended_us.is_none_or(|ended| self.start.began_us <= ended)
    }

    /// Whether the other one went on running after its start.
    fn is_up(&self, other: &Other<'_>) -> bool {
        let service_type = units::unit(self.system, other.unit).map_or("", |unit| unit.service_type.as_str());
        other.start.result == "done" && other.unit.ends_with(".service") && service_type != "oneshot"
    }

    fn listed(&self, others: &[Other<'_>]) -> String {
        let lines = others.iter().take(SHOWN).map(|other| format!("\n  {}: {}", other.unit, self.when(other.start)));
        let more = others.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("\n  and {more} more"));
        lines.chain(more).collect()
    }

    /// A start in relation to the failed one.
    fn when(&self, start: &Start) -> String {
        let began = self.relative(start.began_us);
        match start.ended_us {
            None => format!("started {began}, and still starting when the machine was observed"),
            Some(ended) if ended == start.began_us => format!("{} {began}", start.result),
            Some(ended) => format!("started {began}, {} {}", start.result, self.relative(ended)),
        }
    }

    fn relative(&self, at_us: u64) -> String {
        let here = self.start.began_us;
        let tenths = at_us.abs_diff(here) / 100;
        let apart = match tenths {
            0..10_000 => format!("{}.{} ms", tenths / 10, tenths % 10),
            _ => format!("{}.{} s", tenths / 10_000, tenths / 1_000 % 10),
        };
        format!("{apart} {}", if at_us < here { "earlier" } else { "later" })
    }
}

/// Whether systemd tried to start the unit: where one that it requires failed, or a condition was not met, it did not.
fn was_tried(start: &Start) -> bool {
    !["dependency", "skipped", "canceled", "invalid", "once"].contains(&start.result.as_str())
        || start.ended_us.is_none_or(|ended| start.began_us < ended)
}

fn works(unit: &str) -> bool {
    WORKING.iter().any(|suffix| unit.ends_with(suffix))
}
