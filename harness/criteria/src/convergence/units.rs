//! Failures while switching, and the state that the machine came to.

use std::collections::{BTreeMap, BTreeSet};

use coldproof_evidence::{
    Mismatch, Record,
    guest::{JournalObservation, SystemObservation, UnitObservation},
};

use super::{HARMLESS_JOBS, ONE_SWITCH, jobs::jobs, unmet};
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

/// Where the units that a configuration brings along live; the image's own are in /usr/lib.
const HOST_UNIT_DIRS: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];

fn no_failures(record: &Record) -> Option<Judgement> {
    let switch = record.switch.facts()?;
    let mut judgement = Judgement::new("the switch ran no job");
    let journal = record.system.facts().map(|system| &system.journal);
    let (jobs, doubt) = jobs(switch, journal);
    doubt.into_iter().for_each(|cause| judgement.doubt(cause));
    let mut failures: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut units = BTreeSet::new();
    for job in jobs {
        units.insert(job.unit.as_str());
        if !HARMLESS_JOBS.contains(&job.result.as_str()) {
            failures.entry(&job.unit).or_default().insert(format!("job result {}", job.result));
        }
    }
    match journal {
        Some(journal) => {
            journal_doubts(record, journal, &mut judgement);
            for failure in &journal.failures {
                if !is_harmless(&failure.kind, &failure.result) {
                    let text = format!("{} {}", failure.kind.replace('-', " "), failure.result);
                    failures.entry(&failure.unit).or_default().insert(text);
                }
            }
        }
        None => judgement.doubt("the journal was not read"),
    }
    failures.remove(SWITCH_UNIT);
    units.extend(failures.keys());
    for unit in units {
        judgement.subject(failures.get(unit).map(|what| failed(unit, what, journal)));
    }
    Some(judgement)
}

fn is_harmless(kind: &str, result: &str) -> bool {
    match kind {
        "job-result" => HARMLESS_JOBS.contains(&result),
        _ => result == "success",
    }
}

fn journal_doubts(record: &Record, journal: &JournalObservation, judgement: &mut Judgement) {
    if journal.entries == 0 {
        let silence = "the journal has no entry since the switch began";
        // A switch that ended before it changed anything gave the journal nothing to tell.
        judgement.doubt(match unmet(Requires::System, record) {
            Some(_) => format!("blocked by {}: {silence}", ONE_SWITCH.name),
            None => silence.to_owned(),
        });
    }
    for gap in &journal.gaps {
        judgement.doubt(format!("the journal has a gap: {gap}"));
    }
}

fn failed(unit: &str, what: &BTreeSet<String>, journal: Option<&JournalObservation>) -> Mismatch {
    let what: Vec<_> = what.iter().map(String::as_str).collect();
    let last = journal.and_then(|journal| journal.tails.get(unit)).and_then(|lines| lines.last());
    mismatch(
        unit,
        "no failure since the switch began",
        what.join(", "),
        match last {
            Some(line) => format!("a later success does not undo it; the unit's last words: {line}"),
            None => format!(
                "a later success does not undo it; prove with --keep and read `journalctl -u {unit}` in the guest"
            ),
        },
    )
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
            "make the failed units start, or have the configuration not start them",
        )
    }));
    for declared in record.expectations.units.values().filter(|declared| declared.state == "active") {
        let state = unit(system, &declared.unit).map_or("not loaded", |unit| unit.active_state.as_str());
        judgement.subject((state != "active").then(|| {
            mismatch(
                &declared.unit,
                "active",
                state,
                format!(
                    "`systemctl status {}` says why it is not; it must be reached by the switch alone",
                    declared.unit
                ),
            )
        }));
    }
    for oneshot in system.units.iter().filter(|unit| unit.service_type == "oneshot") {
        judgement.subject(oneshot_mismatches(oneshot, record, system));
    }
    if record.switch.facts().is_some() && record.expectations.deadline_secs > 0 {
        judgement.subject(deadline_mismatch(record));
    }
    Some(judgement)
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
