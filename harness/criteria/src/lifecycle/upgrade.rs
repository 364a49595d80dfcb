//! A machine that runs the previous revision becomes this one, and can go back.

use coldproof_evidence::{
    Record,
    lifecycle::{SwitchedTo, UpgradeObservation},
};

use super::{COMPARED_WITH, again, earlier};
use crate::{
    convergence::switch_mismatch,
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch, or_nothing, short},
    need::Need,
};

/// Required by policy only: it takes a machine of its own, and whether there is a previous revision only git tells.
pub(crate) const UPGRADE: Criterion = Criterion::new(
    "lifecycle.upgrade",
    "a machine that runs the previous revision becomes this one in one switch, and the previous one again by a rollback",
    &[Need::Upgrade],
    upgrade,
)
.using(COMPARED_WITH)
.requiring(Requires::Success)
.declared_when(|_| false);

fn upgrade(record: &Record) -> Option<Judgement> {
    let observed = record.upgrade.facts()?;
    let Some(previous) = &observed.previous else {
        return Some(Judgement::new("the revision has no parent to upgrade from"));
    };
    let previous = short(previous);
    let mut judgement = Judgement::new(format!("the previous revision, {previous}, does not build this host"));
    let Some(before) = observed.to_previous.facts() else {
        judgement.doubt(format!("the switch to {previous} was not observed"));
        return Some(judgement);
    };
    if before.system.profile_system.is_none() {
        return Some(judgement);
    }
    // What is wrong with it by itself is no matter of the upgrade.
    if switch_mismatch("", &before.rebuild).is_some() || before.system.system_state != "running" {
        judgement.doubt(format!("the previous revision, {previous}, does not converge on a blank machine itself"));
        return Some(judgement);
    }
    let Some(this) = observed.to_this.facts() else {
        judgement.doubt(format!("the switch from {previous} to this revision was not observed"));
        return Some(judgement);
    };
    let failed = switch_mismatch(&format!("the switch from {previous} to this revision"), &this.rebuild);
    let is_new = this.system.profile_system != before.system.profile_system;
    if failed.is_none() && !is_new {
        return Some(Judgement::new(format!("the previous revision, {previous}, builds the same system")));
    }
    judgement.subject(failed);
    to_this(record, this, &mut judgement);
    // A switch that made no generation leaves none to go back from.
    if is_new {
        back(previous, before, observed, &mut judgement);
    }
    Some(judgement)
}

fn to_this(record: &Record, this: &SwitchedTo, judgement: &mut Judgement) {
    let after = Record { tls: this.tls.clone(), http: this.http.clone(), ..again::seen(record, &this.system) };
    again::judge("after the upgrade", &earlier(record), &after, judgement);
}

/// What the previous revision declares is not known here: that it runs as it did is what is asked of a rollback.
fn back(previous: &str, before: &SwitchedTo, observed: &UpgradeObservation, judgement: &mut Judgement) {
    let Some(back) = observed.rolled_back.facts() else {
        judgement.doubt(format!("the rollback to {previous} was not observed"));
        return;
    };
    judgement.subject(switch_mismatch(&format!("the rollback to {previous}"), &back.rebuild));
    let (state, was) = (&back.system.system_state, &before.system.running_system);
    judgement.subject((state != "running").then(|| {
        mismatch(
            "is-system-running after the rollback",
            "running",
            or_nothing(state),
            "what this revision changes in the machine's state, the previous one must be able to live with",
        )
    }));
    let runs = &back.system.running_system;
    judgement.subject((runs != was).then(|| {
        mismatch(
            "/run/current-system after the rollback",
            format!("{} (that of {previous})", was.as_deref().unwrap_or_default()),
            or_nothing(runs.as_deref().unwrap_or_default()),
            "`nixos-rebuild list-generations` shows what a rollback goes back to",
        )
    }));
}
