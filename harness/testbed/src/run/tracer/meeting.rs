//! Pairs that may get into each other's way are made to: one is stopped in the middle, and the other runs meanwhile.

use std::collections::{BTreeSet, VecDeque};

use coldproof_criteria::ordering::{Moment, Race, predecessors, races};
use coldproof_evidence::ordering::{Access, Effect, OrderingObservation, TracedUnit, Trial};

use super::{
    guest::{Encounter, Tracer},
    trace::World,
};
use crate::run::RunError;

/// So many meetings are forced at most; a pair for which none is left has no trial, and the finding says so.
const MOST: usize = 24;

/// Two units that may get into each other's way.
struct Pair {
    /// What has to run first.
    first: Vec<String>,
    /// Whether it is known that the two work one after the other, so that a failure tells of their meeting.
    works_in_turn: bool,
    /// How to make them meet, the most promising way first.
    meetings: Vec<Meeting>,
}

/// A meeting to be forced.
struct Meeting {
    stopped: String,
    meanwhile: String,
    call: String,
    path: String,
}

/// Forces each pair to meet until something fails, and records what happened. Every pair is tried once before any is
/// tried again.
pub(super) async fn force(
    tracer: &Tracer<'_>,
    world: &mut World<'_>,
    ordering: &mut OrderingObservation,
) -> Result<(), RunError> {
    let shared = tracer.setting.expectations.shared.as_deref().unwrap_or_default();
    let mut open: VecDeque<Pair> = races(ordering, shared).iter().map(|race| pair(ordering, race)).collect();
    let mut waits = BTreeSet::new();
    while ordering.trials.len() < MOST
        && let Some(mut pair) = open.pop_front()
    {
        // Who waits for the other does so until a limit: that way round comes last.
        pair.meetings.sort_by_key(|meeting| waits.contains(&meeting.meanwhile));
        let meeting = pair.meetings.remove(0);
        let left = open.len() + 1;
        tracer.tell(&format!("stopping {} while {} runs (pairs left: {left})", meeting.stopped, meeting.meanwhile));
        let (trial, encounter) = hold(tracer, world, &mut pair, meeting).await?;
        if encounter == Encounter::Waited {
            waits.insert(trial.meanwhile.clone());
        }
        if trial.failed.is_empty() && !pair.meetings.is_empty() {
            open.push_back(pair);
        }
        ordering.trials.push(trial);
    }
    Ok(())
}

async fn hold(
    tracer: &Tracer<'_>,
    world: &mut World<'_>,
    pair: &mut Pair,
    meeting: Meeting,
) -> Result<(Trial, Encounter), RunError> {
    let Meeting { stopped, meanwhile, call, path } = meeting;
    let mut trial = Trial { stopped, meanwhile, call, path, ..Trial::default() };
    if !pair.works_in_turn {
        set_up(world, &pair.first).await?;
        for unit in [trial.stopped.clone(), trial.meanwhile.clone()] {
            if world.start(&unit).await? != "success" {
                trial.missed = Some(format!("{unit} does not work without what is between the two"));
                pair.meetings.clear();
                return Ok((trial, Encounter::Missed));
            }
        }
        pair.works_in_turn = true;
    }
    set_up(world, &pair.first).await?;
    let limit = world.limit([&trial.stopped, &trial.meanwhile]);
    world.note(&trial.stopped);
    world.note(&trial.meanwhile);
    let met = tracer.meet(&trial.stopped, &trial.call, &trial.path, &trial.meanwhile, limit).await?;
    if met.encounter == Encounter::Missed {
        trial.missed = Some(format!("{} did not come to its {} again", trial.stopped, trial.call));
    } else {
        trial.failed = met.failed;
    }
    Ok((trial, met.encounter))
}

async fn set_up(world: &mut World<'_>, first: &[String]) -> Result<(), RunError> {
    world.rewind().await?;
    for unit in first {
        world.start(unit).await?;
    }
    Ok(())
}

/// How a race is tried: with either unit in the middle of the other, at each place where it is vulnerable.
fn pair(ordering: &OrderingObservation, race: &Race<'_>) -> Pair {
    let [one, other] = [race.one, race.other].map(|unit| predecessors(&ordering.transaction, &unit.unit));
    // A later switch restarts the two and nothing between them, so what both can count on is what comes before either.
    let wanted: BTreeSet<&str> = match race.moment {
        Moment::Switch => one.union(&other).copied().collect(),
        Moment::LaterSwitch => one.intersection(&other).copied().collect(),
    };
    let names = [race.one.unit.as_str(), race.other.unit.as_str()];
    // In the order in which they were traced, which respects their own.
    let first = ordering.traced.iter().map(|traced| traced.unit.as_str());
    let first = first.filter(|unit| wanted.contains(unit) && !names.contains(unit)).map(str::to_owned);
    Pair { first: first.collect(), works_in_turn: race.moment == Moment::Switch, meetings: meetings(race) }
}

fn meetings(race: &Race<'_>) -> Vec<Meeting> {
    let of = |stopped: &TracedUnit, meanwhile: &TracedUnit| {
        let meeting = |access: &Access| Meeting {
            stopped: stopped.unit.clone(),
            meanwhile: meanwhile.unit.clone(),
            call: access.call.clone(),
            path: access.path.clone(),
        };
        windows(race, stopped).into_iter().map(meeting).enumerate().collect::<Vec<_>>()
    };
    let mut ranked = of(race.one, race.other);
    ranked.extend(of(race.other, race.one));
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, meeting)| meeting).collect()
}

/// Where a unit is vulnerable: after it first changes a path that both touch, which shows soonest; and after it has
/// looked for a path that it makes later. Else where it first reads one.
fn windows<'a>(race: &Race<'_>, stopped: &'a TracedUnit) -> Vec<&'a Access> {
    let contested = |access: &&Access| race.conflicts.iter().any(|conflict| conflict.path == access.path);
    let changes = |access: &Access| !matches!(access.effect, Effect::Read | Effect::List);
    let accesses = || stopped.accesses.iter().filter(contested);
    let makes_it = |path: &str| accesses().any(|access| access.path == path && changes(access));
    let looked_in_vain = accesses().find(|access| access.missing && makes_it(&access.path));
    let changed = accesses().find(|access| changes(access));
    let found: Vec<_> = changed.into_iter().chain(looked_in_vain).collect();
    if found.is_empty() { accesses().take(1).collect() } else { found }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn access(path: &str, effect: Effect, missing: bool) -> Access {
        Access { path: path.into(), effect, call: "call".into(), missing, locks: Vec::new() }
    }

    #[rstest]
    #[case::check_then_act(&[access("/a", Effect::Read, true), access("/b", Effect::Name, false), access("/a", Effect::Tree, false)], &[1, 0])]
    #[case::change(&[access("/a", Effect::Read, false), access("/b", Effect::Name, false)], &[1])]
    #[case::read(&[access("/c", Effect::Name, false), access("/a", Effect::Read, false)], &[1])]
    #[case::nothing_in_common(&[access("/c", Effect::Name, false)], &[])]
    fn a_unit_is_stopped_where_it_is_vulnerable(#[case] accesses: &[Access], #[case] at: &[usize]) {
        let other = ["/a", "/b"].map(|path| access(path, Effect::Tree, false));
        let unit = |name: &str, accesses: &[Access]| TracedUnit {
            unit: name.into(),
            result: "success".into(),
            accesses: accesses.to_vec(),
            ..TracedUnit::default()
        };
        let ordering = OrderingObservation {
            traced: vec![unit("one", accesses), unit("other", &other)],
            ..OrderingObservation::default()
        };
        let races = races(&ordering, &[]);
        let windows = races.first().map(|race| windows(race, race.one)).unwrap_or_default();
        assert_eq!(windows, at.iter().map(|&index| &accesses[index]).collect::<Vec<_>>());
    }
}
