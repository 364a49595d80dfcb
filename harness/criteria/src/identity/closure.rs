//! What runs against what git builds, here and on a second machine.

use std::collections::BTreeMap;

use coldproof_evidence::{Record, guest::StorePathObservation};

use crate::{
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch, or_nothing},
    need::Need,
};

pub(crate) const TOPLEVEL: Criterion = Criterion::new(
    "identity.toplevel",
    "what runs and what the system profile holds is what git builds on an independent machine",
    &[Need::System, Need::Reproduction],
    toplevel,
)
.requiring(Requires::System);

pub(crate) const CONTENTS: Criterion = Criterion::new(
    "identity.contents",
    "the bytes of every closure path, hashed again, are those that Nix registered",
    &[Need::System],
    contents,
)
.requiring(Requires::System);

pub(crate) const REPRODUCED: Criterion = Criterion::new(
    "identity.reproduced",
    "a second, independent blank machine that builds the same revision gets the same closure, path by path and byte for byte",
    &[Need::System, Need::Reproduction],
    reproduced,
)
.requiring(Requires::System);

/// What must be the toplevel that git builds: where it was found, what it is, and what to do if it differs.
type Claim<'r> = (&'static str, Option<&'r str>, &'static str);

fn claims(record: &Record) -> Option<Vec<Claim<'_>>> {
    let system = record.system.facts()?;
    Some(vec![
        (
            "/run/current-system",
            system.running_system.as_deref(),
            "the guest runs something else than the revision builds: look for a second switch, or a change that is not committed",
        ),
        (
            "/nix/var/nix/profiles/system",
            system.profile_system.as_deref(),
            "the next boot starts something else than what the revision builds: use `switch`, not `test`",
        ),
    ])
}

/// Whether everything that was seen is what git builds; true as well where there is nothing to compare with.
pub(crate) fn toplevel_agrees(record: &Record) -> bool {
    let Some(reproduction) = record.reproduction.facts() else { return true };
    claims(record).unwrap_or_default().iter().all(|(_, found, _)| *found == Some(&reproduction.toplevel))
}

fn toplevel(record: &Record) -> Option<Judgement> {
    let built = &record.reproduction.facts()?.toplevel;
    let mut judgement = Judgement::new("no toplevel was built");
    if built.is_empty() {
        return Some(judgement);
    }
    for (place, found, remedy) in claims(record)? {
        judgement.subject((found != Some(built.as_str())).then(|| {
            mismatch(place, format!("{built} (what git builds)"), or_nothing(found.unwrap_or_default()), remedy)
        }));
    }
    Some(judgement)
}

fn contents(record: &Record) -> Option<Judgement> {
    let system = record.system.facts()?;
    let mut judgement = Judgement::new("the running system has no closure");
    for StorePathObservation { path, registered, actual, .. } in &system.closure {
        let Some(actual) = actual else {
            judgement.doubt(format!("the bytes of {path} were not hashed"));
            continue;
        };
        judgement.subject((actual != registered).then(|| {
            mismatch(
                path,
                format!("{registered} (registered when it was built)"),
                format!("{actual} (the bytes that are there now)"),
                "the store was written to behind Nix's back: find what did (`nix store verify` lists it all), \
                 then build the host anew",
            )
        }));
    }
    Some(judgement)
}

fn reproduced(record: &Record) -> Option<Judgement> {
    let here = paths(&record.system.facts()?.closure);
    let there = paths(&record.reproduction.facts()?.closure);
    let mut judgement = Judgement::new("neither machine has a closure");
    for (path, observed) in &here {
        let Some(again) = there.get(path) else {
            judgement.subject([only(path, "the proved machine")]);
            continue;
        };
        // What the second machine's bytes are against what was registered here at build time: bytes that changed
        // afterwards are for identity.contents to tell.
        let Some(actual) = &again.actual else {
            judgement.doubt(format!("the bytes of {path} were not hashed on the second machine"));
            continue;
        };
        judgement.subject((actual != &observed.registered).then(|| {
            mismatch(
                *path,
                format!("{} (built on the proved machine)", observed.registered),
                format!("{actual} (built on the second machine)"),
                "the derivation is not deterministic: `nix build --rebuild --keep-failed` and diffoscope show where; \
                 times, random values and the build's processor count are the usual causes",
            )
        }));
    }
    for path in there.keys().filter(|path| !here.contains_key(*path)) {
        judgement.subject([only(path, "the second machine")]);
    }
    Some(judgement)
}

fn paths(closure: &[StorePathObservation]) -> BTreeMap<&str, &StorePathObservation> {
    closure.iter().map(|observed| (observed.path.as_str(), observed)).collect()
}

fn only(path: &str, machine: &str) -> coldproof_evidence::Mismatch {
    mismatch(
        path,
        "the same closure on both machines",
        format!("only on {machine}"),
        "the same revision must evaluate alike everywhere: look for impure inputs (paths, channels, the environment, the time)",
    )
}
