//! Failures while switching, and the state that the machine came to.

use std::collections::{BTreeMap, BTreeSet};

use coldproof_evidence::{
    Mismatch, Record,
    guest::{JournalFailure, JournalObservation, SystemObservation, UnitObservation},
};

use super::{HARMLESS_JOBS, ONE_SWITCH, jobs::jobs, starts::FailedStart, unmet, words::last_lines};
use crate::{
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch, or_nothing},
    need::Need,
};

pub(crate) const NO_FAILURES: Criterion = Criterion::new(
    "convergence.no-failures",
    "no job and no unit failed at any time since the switch began, by job results and journal",
    &[Need::Switch],
    no_failures,
)
.using(&[Need::System]);

pub(crate) const RUNNING: Criterion = Criterion::new(
    "convergence.running",
    "`is-system-running` is `running`, all declared units are active, all oneshots succeeded, within the deadline",
    &[Need::System],
    running,
)
.using(&[Need::Switch])
.requiring(Requires::System)
.of_an_original();

/// The transient unit in which nixos-rebuild runs the activation. Its result is the switch's own exit code, which
/// `convergence.one-switch` judges.
const SWITCH_UNIT: &str = "nixos-rebuild-switch-to-configuration.service";

/// What the units begin with in which the harness runs the rebuild.
const OUR_UNITS: &str = "coldproof-";

/// Where the units that a configuration brings along live; the image's own are in /usr/lib.
const HOST_UNIT_DIRS: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];

/// In what ways one unit failed.
type Failure = BTreeSet<String>;
/// Each unit that failed, by name.
type Failures<'r> = BTreeMap<&'r str, Failure>;

fn no_failures(record: &Record) -> Option<Judgement> {
    let switch = record.switch.facts()?;
    let mut judgement = Judgement::new("the switch ran no job");
    let system = record.system.facts();
    let journal = system.map(|system| &system.journal);
    let (jobs, doubt) = jobs(switch, journal);
    doubt.into_iter().for_each(|cause| judgement.doubt(cause));
    let mut failures = Failures::new();
    let mut units = BTreeSet::new();
    for job in jobs {
        units.insert(job.unit.as_str());
        if !HARMLESS_JOBS.contains(&job.result.as_str()) {
            failures.entry(&job.unit).or_default().insert(format!("job result {}", job.result));
        }
    }
    match journal {
        Some(journal) => {
            journal_doubts(journal, &mut judgement);
            for failure in &journal.failures {
                if !is_harmless(failure) {
                    let text = format!("{} {}", failure.kind.replace('-', " "), failure.result);
                    failures.entry(&failure.unit).or_default().insert(text);
                }
            }
        }
        None => judgement.doubt("the journal was not read"),
    }
    failures.remove(SWITCH_UNIT);
    units.extend(failures.keys());
    // What is there to be seen is then what systemd did for reasons of its own, or nothing.
    if failures.is_empty() && unmet(Requires::System, record).is_some() {
        judgement.doubt(format!("blocked by {}: the switch started no unit", ONE_SWITCH.name));
    }
    for unit in units {
        judgement.subject(failures.get(unit).map(|what| failed(unit, what, system, &failures)));
    }
    Some(judgement)
}

/// Whether what the journal tells of is no failure after all.
pub(super) fn is_harmless(failure: &JournalFailure) -> bool {
    match failure.kind.as_str() {
        "job-result" => HARMLESS_JOBS.contains(&failure.result.as_str()),
        _ => failure.result == "success",
    }
}

/// Whether the unit is the switch itself, which runs beside all that it starts.
pub(super) fn is_the_switch(unit: &str) -> bool {
    unit == SWITCH_UNIT || unit.starts_with(OUR_UNITS)
}

fn journal_doubts(journal: &JournalObservation, judgement: &mut Judgement) {
    if journal.entries == 0 {
        judgement.doubt("the journal has no entry since the switch began");
    }
    for gap in &journal.gaps {
        judgement.doubt(format!("the journal has a gap: {gap}"));
    }
}

fn failed(unit: &str, what: &Failure, system: Option<&SystemObservation>, all: &Failures<'_>) -> Mismatch {
    let remedy = if kept_back(what) {
        let causes: Vec<_> = all.iter().filter(|(_, what)| !kept_back(what)).map(|(unit, _)| *unit).collect();
        let causes = if causes.is_empty() { "none that was seen".to_owned() } else { causes.join(", ") };
        format!("systemd did not start it, because a unit that it requires did not start; failed themselves: {causes}")
    } else {
        let lines = system.and_then(|system| system.journal.tails.get(unit)).and_then(|lines| last_lines(lines));
        let words = match lines {
            Some(lines) => format!("the unit's last words: {lines}"),
            None => format!("prove with --keep and read `journalctl -u {unit}` in the guest"),
        };
        let start = system.and_then(|system| FailedStart::of(unit, system));
        format!("a later success does not undo it; {words}{}", start.map(|start| start.told()).unwrap_or_default())
    };
    let what: Vec<_> = what.iter().map(String::as_str).collect();
    mismatch(unit, "no failure since the switch began", what.join(", "), remedy)
}

/// Whether the unit did nothing wrong itself: systemd fails a job with `dependency` where one that it requires failed.
fn kept_back(what: &Failure) -> bool {
    what.iter().all(|what| what == "job result dependency")
}

fn running(record: &Record) -> Option<Judgement> {
    let system = record.system.facts()?;
    let mut judgement = Judgement::new("no system was observed");
    judgement.subject((system.system_state != "running").then(|| {
        let failed: Vec<_> = names(system, |unit| unit.active_state == "failed");
        mismatch(
            "is-system-running",
            "running",
            format!(
                "{}; failed units: {}",
                or_nothing(&system.system_state),
                if failed.is_empty() { "none".to_owned() } else { failed.join(", ") }
            ),
            match failed.as_slice() {
                [] => "no unit failed: what was still starting has to finish, or `systemctl list-jobs` names what it waits for",
                _ => "make the failed units start, or have the configuration not start them",
            },
        )
    }));
    for declared in record.expectations.units.values().filter(|declared| declared.state == "active") {
        let state = unit(system, &declared.unit).map_or("not loaded", |unit| unit.active_state.as_str());
        judgement.subject(
            (state != "active")
                .then(|| mismatch(&declared.unit, "active", state, not_active(&declared.unit, state, system))),
        );
    }
    for oneshot in system.units.iter().filter(|unit| unit.service_type == "oneshot") {
        judgement.subject(oneshot_mismatches(oneshot, record, system));
    }
    if record.switch.facts().is_some() && record.expectations.deadline_secs > 0 {
        judgement.subject(deadline_mismatch(record));
    }
    Some(judgement)
}

/// The likely cause of a declared unit's state, and what to do about it.
fn not_active(unit: &str, state: &str, system: &SystemObservation) -> String {
    let lines = system.journal.tails.get(unit).and_then(|lines| last_lines(lines));
    match (state, lines) {
        ("not loaded", _) => {
            "the configuration that was switched to has no unit of that name: compare the names".to_owned()
        }
        (_, Some(lines)) => format!("it must be reached by the switch alone; its last words: {lines}"),
        ("inactive", None) => {
            "nothing started it, or it has ended: have a target that is reached want it (WantedBy=), and look \
             for units that it requires among those that failed"
                .to_owned()
        }
        _ => format!(
            "it must be reached by the switch alone: prove with --keep and read `systemctl status {unit}` in the guest"
        ),
    }
}

fn oneshot_mismatches(oneshot: &UnitObservation, record: &Record, system: &SystemObservation) -> Vec<Mismatch> {
    let name = &oneshot.name;
    let mut wrong = Vec::new();
    if oneshot.result != "success" {
        wrong.push(mismatch(
            name,
            "result success of a oneshot",
            or_nothing(&oneshot.result),
            format!("prove with --keep and read `journalctl -u {name}` in the guest"),
        ));
    }
    // Images bring oneshots along that skip themselves on most machines; one of the host's own that does so did no work.
    if !oneshot.condition_met && is_the_hosts(name, record, system) {
        wrong.push(mismatch(
            name,
            "a oneshot that ran",
            "a condition of the unit skipped it",
            "provide what its Condition…= asks for before it starts, or drop the condition",
        ));
    }
    wrong
}

fn is_the_hosts(name: &str, record: &Record, system: &SystemObservation) -> bool {
    record.expectations.units.values().any(|declared| declared.unit == name)
        || HOST_UNIT_DIRS.iter().any(|dir| system.unit_files.contains_key(&format!("{dir}/{name}")))
}

fn deadline_mismatch(record: &Record) -> Option<Mismatch> {
    let switch = record.switch.facts()?;
    let (deadline, took) =
        (record.expectations.deadline_secs, switch.ended_us.saturating_sub(switch.started_us).div_ceil(1_000_000));
    (took > deadline).then(|| {
        mismatch(
            "the switch's duration",
            format!("at most {deadline} s"),
            format!("{took} s"),
            "give the machine more processors or memory, or a longer `deadline`, under [machine]",
        )
    })
}

/// The unit of that name, if systemd has loaded it.
pub(crate) fn unit<'s>(system: &'s SystemObservation, name: &str) -> Option<&'s UnitObservation> {
    system.units.iter().find(|unit| unit.name == name && unit.load_state != "not-found")
}

fn names(system: &SystemObservation, which: impl Fn(&UnitObservation) -> bool) -> Vec<&str> {
    system.units.iter().filter(|unit| which(unit)).map(|unit| unit.name.as_str()).collect()
}
