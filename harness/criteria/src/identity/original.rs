//! What git builds against what the original runs.

use std::collections::BTreeMap;

use coldproof_evidence::{
    Record,
    guest::{OriginalObservation, Reproduction, StorePathObservation},
};

use super::builds::WITHOUT_BUILD;
use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch, or_nothing},
    need::Need,
};

pub(crate) const ORIGINAL: Criterion = Criterion::new(
    "identity.original",
    "what git builds on an independent machine is what the original runs, byte for byte where that was looked at",
    &[Need::Reproduction],
    original,
)
.using(&[Need::Original])
.blocked_by(WITHOUT_BUILD)
.declared_when(|expected| expected.toplevel.is_some() || expected.original.is_some())
.of_an_original();

const UNCOMMITTED: &str = "the revision does not build what the original runs: commit what built that, \
                           or switch the original to the revision";

fn original(record: &Record) -> Option<Judgement> {
    let reproduction = record.reproduction.facts()?;
    let mut judgement = Judgement::new(
        "the host definition names no original: `toplevel` under [host] says what it runs, [machine.ssh] where it is",
    );
    if let Some(claimed) = &record.expectations.toplevel {
        let remedy = format!("{UNCOMMITTED} and declare what it then runs");
        toplevel(&mut judgement, "[host] toplevel", Some(claimed), reproduction, &remedy);
    }
    if let Some(observed) = record.original.facts() {
        live(&mut judgement, observed, reproduction);
    }
    Some(judgement)
}

fn live(judgement: &mut Judgement, observed: &OriginalObservation, reproduction: &Reproduction) {
    let (running, next) = (observed.running_system.as_ref(), observed.profile_system.as_ref());
    toplevel(judgement, "/run/current-system of the original", running, reproduction, UNCOMMITTED);
    let remedy = format!("{UNCOMMITTED}: its next boot starts something else than what was built");
    toplevel(judgement, "/nix/var/nix/profiles/system of the original", next, reproduction, &remedy);
    // Of another system, every path would be told of again.
    if running == Some(&reproduction.toplevel) {
        contents(judgement, observed, reproduction);
    }
}

fn toplevel(judgement: &mut Judgement, place: &str, found: Option<&String>, reproduction: &Reproduction, remedy: &str) {
    let built = &reproduction.toplevel;
    judgement.subject((found != Some(built)).then(|| {
        let found = found.map(String::as_str).unwrap_or_default();
        mismatch(place, format!("{built} (what git builds)"), or_nothing(found), remedy)
    }));
}

/// One toplevel has one closure, but a path's name says nothing about its bytes.
fn contents(judgement: &mut Judgement, observed: &OriginalObservation, reproduction: &Reproduction) {
    let built: BTreeMap<_, _> = reproduction.closure.iter().map(|path| (&path.path, path)).collect();
    if observed.closure.is_empty() {
        judgement.doubt("the closure of the original was not hashed");
    }
    for StorePathObservation { path, actual, .. } in &observed.closure {
        let built = built.get(path).and_then(|built| built.actual.as_ref());
        let (Some(built), Some(actual)) = (built, actual) else {
            judgement.doubt(format!("the bytes of {path} were not hashed on both"));
            continue;
        };
        judgement.subject((actual != built).then(|| {
            mismatch(
                path,
                format!("{built} (what git builds)"),
                format!("{actual} (the bytes on the original)"),
                "the original's store was written to behind Nix's back (`nix store verify` lists it all), \
                 or the derivation is not deterministic (identity.deterministic tells)",
            )
        }));
    }
}
