//! A machine that was shut down in good order and started again, as it was or larger.

use coldproof_evidence::{
    Mismatch, Record,
    lifecycle::{Afterwards, LifecycleObservation},
};

use super::{COMPARED_WITH, again, earlier};
use crate::{
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const REBOOT: Criterion = Criterion::new(
    "lifecycle.reboot",
    "after a reboot within the deadline, what booted is what git builds, and everything that held before it holds again",
    &[Need::Reboot],
    reboot,
)
.using(COMPARED_WITH)
.requiring(Requires::Success);

pub(crate) const RESIZE: Criterion = Criterion::new(
    "lifecycle.resize",
    "on a machine with half as much memory again, started within the deadline, everything that held before holds again",
    &[Need::Resize],
    resize,
)
.using(COMPARED_WITH)
.requiring(Requires::Success)
.blocked_by(&["lifecycle.reboot"]);

fn reboot(record: &Record) -> Option<Judgement> {
    let observed = record.reboot.facts()?;
    Some(judge("after the reboot", record, &earlier(record), observed))
}

fn resize(record: &Record) -> Option<Judgement> {
    let observed = record.resize.facts()?;
    let mut earlier = earlier(record);
    if let Some(rebooted) = record.reboot.facts().and_then(|reboot| reboot.after.as_ref()) {
        earlier.push(state(record, rebooted));
    }
    let mut judgement = judge("after the resize", record, &earlier, observed);
    let (before, after) = (&observed.before, observed.after.as_ref().map(|after| &after.boot));
    if let Some(after) = after.filter(|after| after.memory_bytes <= before.memory_bytes) {
        let had = before.memory_bytes >> 20;
        judgement
            .doubt(format!("the guest had {had} MiB and then {} MiB: nothing was resized", after.memory_bytes >> 20));
    }
    Some(judgement)
}

/// The record of the guest after the action.
fn state(record: &Record, after: &Afterwards) -> Record {
    Record { tls: after.tls.clone(), http: after.http.clone(), ..again::seen(record, &after.system) }
}

fn judge(when: &str, record: &Record, earlier: &[Record], observed: &LifecycleObservation) -> Judgement {
    let mut judgement = Judgement::new("nothing was started again");
    let Some(after) = &observed.after else {
        judgement.subject([silent(when, record, observed)]);
        return judgement;
    };
    if after.boot.id == observed.before.id {
        judgement.doubt(format!("{when} the guest is still in the same boot: nothing was started again"));
    }
    judgement.subject(too_slow(when, record, observed));
    judgement.subject(booted_mismatch(when, record, after));
    again::judge(when, earlier, &state(record, after), &mut judgement);
    judgement
}

fn silent(when: &str, record: &Record, observed: &LifecycleObservation) -> Mismatch {
    mismatch(
        format!("the guest {when}"),
        format!("a guest that takes commands within {} s", record.expectations.deadline_secs),
        format!("none for {} s", observed.took_ms.div_ceil(1000)),
        format!(
            "what was switched to must boot as well: look at its init and its mounts; the console ends with: {}",
            observed.console
        ),
    )
}

fn too_slow(when: &str, record: &Record, observed: &LifecycleObservation) -> Option<Mismatch> {
    let (deadline, took) = (record.expectations.deadline_secs, observed.took_ms.div_ceil(1000));
    (deadline > 0 && took > deadline).then(|| {
        mismatch(
            format!("the time until the guest had booted {when}"),
            format!("at most {deadline} s"),
            format!("{took} s"),
            "`systemd-analyze blame` in the guest names the slow units; or give a longer `deadline` under [machine]",
        )
    })
}

/// The generation that the boot loader chose, before anything could replace it.
fn booted_mismatch(when: &str, record: &Record, after: &Afterwards) -> Option<Mismatch> {
    let (built, booted) = (&record.reproduction.facts()?.toplevel, after.system.booted_system.as_ref()?);
    (built != booted).then(|| {
        mismatch(
            format!("identity.toplevel {when}: /run/booted-system"),
            format!("{built} (built from git)"),
            booted,
            "another generation was booted than the one that was switched to: look at what the boot loader or the system profile names",
        )
    })
}
