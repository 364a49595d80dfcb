//! The first switch and the second.

use coldproof_evidence::{
    Mismatch, Observed, Record,
    guest::{SecretObservation, SystemObservation},
    rebuild::RebuildObservation,
};

use super::{HARMLESS_JOBS, jobs::jobs, starts::suspicions, words::last_lines};
use crate::{
    criterion::{Criterion, Requires},
    identity,
    judgement::{Judgement, mismatch, or_nothing},
    need::Need,
    secrets, services,
};

pub(crate) const ONE_SWITCH: Criterion = Criterion::new(
    "convergence.one-switch",
    "the first switch, run once, detached, exited 0 and no activation snippet failed",
    &[Need::Switch],
    one_switch,
);

pub(crate) const IDEMPOTENT: Criterion = Criterion::new(
    "convergence.idempotent",
    "a second switch exits 0 without a failed job and changes no unit file, no stack, no declared secret and not the running \
     system",
    &[Need::System, Need::SecondSwitch, Need::SecondSystem],
    idempotent,
)
.requiring(Requires::Success)
.blocked_by(&["identity.toplevel", "secrets.in-place", "secrets.modes"]);

/// Why what a criterion requires of the switch is not met, if so. A switch that nobody saw is not held against it.
pub(crate) fn unmet(requires: Requires, record: &Record) -> Option<String> {
    let switch = record.switch.facts()?;
    let failed = match requires {
        Requires::Nothing => false,
        Requires::System => !put_in_place(switch, record),
        Requires::Success => !succeeded(switch),
    };
    failed.then(|| format!("the switch did not succeed: {}", status(switch)))
}

fn succeeded(switch: &RebuildObservation) -> bool {
    switch.exit_code == Some(0) && switch.failed_snippets.is_empty()
}

/// Whether the switch put a system in place. The exit code alone does not tell: the older nixos-rebuild exits 1 for a
/// build that failed and for a unit that did not start.
fn put_in_place(switch: &RebuildObservation, record: &Record) -> bool {
    succeeded(switch) || record.system.facts().is_some_and(|system| system.running_system.is_some())
}

/// Whether the activation script failed in part, so that something it should have made may not be there.
///
/// switch-to-configuration exits 2 then, unless a unit failed as well: 4 overwrites 2, hence the look at the snippets.
pub(crate) fn activation_failed(record: &Record) -> bool {
    let failed = |switch: &RebuildObservation| !switch.failed_snippets.is_empty() || switch.exit_code == Some(2);
    record.switch.facts().is_some_and(failed)
}

fn status(switch: &RebuildObservation) -> String {
    let mut status = match (switch.exit_code, switch.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "no exit status".to_owned(),
    };
    if !switch.failed_snippets.is_empty() {
        status += &format!(", failed activation snippets: {}", switch.failed_snippets.join(", "));
    }
    status
}

fn one_switch(record: &Record) -> Option<Judgement> {
    let switch = record.switch.facts()?;
    let mut judgement = Judgement::new("no switch was run");
    if switch.exit_code.is_none() && switch.signal.is_none() {
        judgement.doubt("the recorder did not see the switch end");
    } else {
        let seen = record.system.facts().map(suspicions).unwrap_or_default();
        judgement.subject(failed_switch("the switch", switch, &seen));
    }
    Some(judgement)
}

pub(crate) fn switch_mismatch(which: &str, switch: &RebuildObservation) -> Option<Mismatch> {
    failed_switch(which, switch, "")
}

/// `seen` is what else may explain the failure, in lines that each begin with a line's end.
fn failed_switch(which: &str, switch: &RebuildObservation, seen: &str) -> Option<Mismatch> {
    (!succeeded(switch)).then(|| {
        mismatch(
            which,
            "exit code 0 and no failed activation snippet",
            status(switch),
            format!(
                "the first failure counts, a later switch often heals it{seen}{}the output ends with: {}",
                if seen.is_empty() { "; " } else { "\n" },
                last_lines(&switch.output).unwrap_or_else(|| "nothing".to_owned())
            ),
        )
    })
}

fn idempotent(record: &Record) -> Option<Judgement> {
    let (first, switch, second) =
        (record.system.facts()?, record.second_switch.facts()?, record.second_system.facts()?);
    let mut judgement = Judgement::new("no second switch was run");
    judgement.subject(switch_mismatch("the second switch", switch));
    let (jobs, doubt) = jobs(switch, Some(&second.journal));
    doubt.into_iter().for_each(|cause| judgement.doubt(format!("second switch: {cause}")));
    for job in jobs.into_iter().filter(|job| !HARMLESS_JOBS.contains(&job.result.as_str())) {
        judgement.wrong(mismatch(
            &job.unit,
            "no failed job in the second switch",
            format!("job result {}", job.result),
            "make the unit safe to run again: it must bear finding its own work already done",
        ));
    }
    judgement.subject(unit_file_mismatches(first, second));
    swarm(first, second, &mut judgement);
    running_system(record, first, second, &mut judgement);
    for (name, before) in &first.secrets {
        if let Some(change) = secret_mismatch(name, before, second.secrets.get(name)) {
            // What was wrong before the second switch is that criterion's matter; to put it right is no flaw.
            if secrets::as_declared(record, name, before) {
                judgement.subject([change]);
            } else {
                judgement.absence(change);
            }
        } else {
            judgement.subject(None);
        }
    }
    Some(judgement)
}

fn running_system(record: &Record, first: &SystemObservation, second: &SystemObservation, judgement: &mut Judgement) {
    let (before, after) = (first.running_system.as_deref(), second.running_system.as_deref());
    let change = (before != after).then(|| changed("/run/current-system", before, after));
    match change {
        Some(change) if !identity::toplevel_agrees(record) => judgement.absence(change),
        change => judgement.subject(change),
    }
}

/// The stacks of a swarm; a guest that has no engine has none that could change.
fn swarm(first: &SystemObservation, second: &SystemObservation, judgement: &mut Judgement) {
    match (&first.swarm, &second.swarm) {
        (Observed::Facts { facts: before, .. }, Observed::Facts { facts: after, .. }) => {
            if before.engine || after.engine {
                let changes = services::changes(before, after);
                let mismatches = changes.iter().map(|(name, was, is)| {
                    let (was, is) = (Some(was.as_str()), Some(is.as_str()));
                    changed(&format!("the service {name} of the swarm"), was, is)
                });
                judgement.subject(mismatches);
            }
        }
        (Observed::Unavailable { cause }, _) | (_, Observed::Unavailable { cause }) => {
            judgement.doubt(format!("the stacks could not be observed: {cause}"));
        }
        (Observed::NotObserved, _) | (_, Observed::NotObserved) => {}
    }
}

fn unit_file_mismatches(first: &SystemObservation, second: &SystemObservation) -> Vec<Mismatch> {
    let (before, after) = (&first.unit_files, &second.unit_files);
    let mut paths: Vec<_> = before.keys().chain(after.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| changed(path, before.get(path).map(String::as_str), after.get(path).map(String::as_str)))
        .collect()
}

fn secret_mismatch(name: &str, before: &SecretObservation, after: Option<&SecretObservation>) -> Option<Mismatch> {
    let facts = |secret: &SecretObservation| {
        format!(
            "mode {:04o} {}:{}, keyed hash {}",
            secret.mode,
            secret.owner,
            secret.group,
            secret.hmac.as_deref().unwrap_or("none")
        )
    };
    let (before, after) = (facts(before), after.map(facts));
    (after.as_ref() != Some(&before)).then(|| changed(&format!("[secrets.{name}]"), Some(&before), after.as_deref()))
}

fn changed(subject: &str, before: Option<&str>, after: Option<&str>) -> Mismatch {
    mismatch(
        subject,
        format!("unchanged by a second switch: {}", or_nothing(before.unwrap_or_default())),
        or_nothing(after.unwrap_or_default()),
        "a switch to the same revision must change nothing: look for a time, a random value or a counter in what makes it",
    )
}
