//! `ordering.race-free`: what may run at once must not get into each other's way.

mod conflicts;
mod graph;

use std::collections::{BTreeMap, BTreeSet};

use coldproof_evidence::{
    Mismatch, Record,
    expectations::SharedPath,
    ordering::{Effect, OrderingObservation, TracedUnit, Trial, UnitOrder},
};
use globset::Glob;

use self::graph::Graph;
pub use self::{conflicts::Conflict, graph::Moment};
use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const RACE_FREE: Criterion = Criterion::new(
    "ordering.race-free",
    "no two units that may run at once touch the same path, one of them writing",
    &[Need::Ordering],
    race_free,
)
.declared_when(|expected| expected.shared.is_some());

/// Two units that may run at once and share paths.
#[derive(Clone, Debug)]
pub struct Race<'a> {
    /// The one that comes first: by way of the units between them, or else by name.
    pub one: &'a TracedUnit,
    /// The other.
    pub other: &'a TracedUnit,
    /// When both may run.
    pub moment: Moment,
    /// What they share, at least one path.
    pub conflicts: Vec<Conflict>,
}

/// Every race among the traced units, but for what the host definition allows them to share.
#[must_use]
pub fn races<'a>(ordering: &'a OrderingObservation, shared: &[SharedPath]) -> Vec<Race<'a>> {
    pairs(&ordering.traced).filter_map(|(one, other)| race(ordering, shared, one, other)).collect()
}

/// Everything that comes before a unit in a switch that starts everything.
#[must_use]
pub fn predecessors<'a>(transaction: &'a BTreeMap<String, UnitOrder>, unit: &str) -> BTreeSet<&'a str> {
    Graph(transaction).before(unit, &|_| true)
}

fn pairs(traced: &[TracedUnit]) -> impl Iterator<Item = (&TracedUnit, &TracedUnit)> {
    let with_later = |(index, one)| traced[index + 1..].iter().map(move |other| (one, other));
    traced.iter().enumerate().flat_map(with_later)
}

fn race<'a>(
    ordering: &OrderingObservation,
    shared: &[SharedPath],
    one: &'a TracedUnit,
    other: &'a TracedUnit,
) -> Option<Race<'a>> {
    let (one, other) = if one.unit <= other.unit { (one, other) } else { (other, one) };
    let graph = Graph(&ordering.transaction);
    let moment = graph.overlap(&one.unit, &other.unit)?;
    let swapped = graph.before(&one.unit, &|_| true).contains(other.unit.as_str());
    let (one, other) = if swapped { (other, one) } else { (one, other) };
    let mut conflicts = conflicts::conflicts(one, other);
    conflicts.retain(|conflict| !shared.iter().any(|shared| allows(shared, one, other, &conflict.path)));
    (!conflicts.is_empty()).then_some(Race { one, other, moment, conflicts })
}

fn allows(shared: &SharedPath, one: &TracedUnit, other: &TracedUnit, path: &str) -> bool {
    // A glob that does not compile allows nothing, which the host definition has refused already.
    let matches = |glob: &str, text: &str| Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(text));
    let names = |unit: &str| shared.units.iter().any(|glob| matches(glob, unit));
    matches(&shared.path, path) && names(&one.unit) && names(&other.unit)
}

fn race_free(record: &Record) -> Option<Judgement> {
    let ordering = record.ordering.facts()?;
    let mut judgement = Judgement::new("the switch starts fewer than two services of the host's own");
    let races = races(ordering, record.expectations.shared.as_deref().unwrap_or_default());
    let judged = pairs(&ordering.traced).count();
    judgement.subjects(judged, races.iter().map(|race| report(race, &ordering.trials)));
    for gap in &ordering.gaps {
        judgement.doubt(gap);
    }
    for unit in ordering.traced.iter().filter(|unit| !["success", "exec-condition"].contains(&unit.result.as_str())) {
        judgement.doubt(format!(
            "{} did not succeed with nothing but its predecessors before it (result {}), so that it did not do all it does",
            unit.unit, unit.result
        ));
    }
    Some(judgement)
}

fn report(race: &Race<'_>, trials: &[Trial]) -> Mismatch {
    let (one, other) = (&race.one.unit, &race.other.unit);
    let (when, edge) = match race.moment {
        Moment::Switch => ("nothing orders them", format!("write `After={one}` into {other}, or the other way round")),
        Moment::LaterSwitch => (
            "only units between them order them, and a later switch may restart these two alone",
            format!("write `After={one}` into {other}: After= must name every unit that it shares something with"),
        ),
    };
    let path = &race.conflicts[0].path;
    mismatch(
        format!("{one} and {other}"),
        "an order between the two, or a lock around what they share",
        format!("{when}; they share {}; {}", shared_paths(race), tried(race, trials)),
        format!(
            "{edge}; or take the same flock in both; or, if it does no harm, say why under [ordering] in the host \
             definition: allow = [{{ path = \"{path}\", units = [\"{one}\", \"{other}\"], reason = \"…\" }}]"
        ),
    )
}

/// The first paths, each with what either unit does to it.
fn shared_paths(race: &Race<'_>) -> String {
    const SHOWN: usize = 3;
    let does = |access: &coldproof_evidence::ordering::Access| {
        let verb = match access.effect {
            Effect::Read if access.missing => "looks for it in vain",
            Effect::Read => "reads it",
            Effect::List => "lists it",
            Effect::Append => "appends to it",
            Effect::Write => "writes it",
            Effect::Name | Effect::MakeDirectory => "makes or removes it",
            Effect::Tree => "puts it into place or takes it away",
        };
        format!("{verb} ({})", access.call)
    };
    let shown = race.conflicts.iter().take(SHOWN).map(|conflict| {
        let Conflict { path, one, other } = conflict;
        format!("{path}: {} {}, {} {}", race.one.unit, does(one), race.other.unit, does(other))
    });
    let mut text = shown.collect::<Vec<_>>().join("; ");
    if race.conflicts.len() > SHOWN {
        text += &format!("; and {} more", race.conflicts.len() - SHOWN);
    }
    text
}

/// What was seen when the two were made to meet.
fn tried(race: &Race<'_>, trials: &[Trial]) -> String {
    let pair = [race.one.unit.as_str(), race.other.unit.as_str()];
    let of_pair = |trial: &&Trial| pair.contains(&trial.stopped.as_str()) && pair.contains(&trial.meanwhile.as_str());
    let tried: Vec<_> = trials.iter().filter(of_pair).collect();
    if let Some(trial) = tried.iter().find(|trial| !trial.failed.is_empty()) {
        let failed = trial.failed.iter().map(|(unit, words)| match words.as_str() {
            "" => format!("{unit} fails"),
            words => format!("{unit} fails (“{words}”)"),
        });
        return format!(
            "confirmed: {} when {} runs between {}'s {} of {} and its end",
            failed.collect::<Vec<_>>().join(" and "),
            trial.meanwhile,
            trial.stopped,
            trial.call,
            trial.path,
        );
    }
    let missed = tried.iter().find_map(|trial| trial.missed.as_deref());
    match (tried.iter().filter(|trial| trial.missed.is_none()).count(), missed) {
        (0, Some(reason)) => format!("not confirmed: {reason}"),
        (0, None) => "not tried: there are more such pairs than are made to meet".to_owned(),
        (tries, _) => format!("benign here: neither failed in {tries} forced meetings"),
    }
}
