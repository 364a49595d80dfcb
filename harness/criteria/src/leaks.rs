//! `leaks.none`: a secret is in its own file and nowhere else.

use std::collections::BTreeSet;

use coldproof_evidence::{
    Mismatch, Record,
    leaks::{LeakSighting, LeaksObservation},
};

use crate::{
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const NONE: Criterion = Criterion::new(
    "leaks.none",
    "no known secret, in any of its encodings, is anywhere in the guest but in its own file, or in what the harness wrote",
    &[Need::Sops, Need::Leaks, Need::OwnLeaks],
    none,
)
.requiring(Requires::System)
.declared_when(|expected| !expected.secrets.is_empty());

fn none(record: &Record) -> Option<Judgement> {
    record.sops.facts()?;
    let mut judgement = Judgement::new("no secret was looked for, or nothing was looked through");
    let searches = [record.leaks.facts()?, record.own_leaks.facts()?];
    for search in searches {
        let looked_through = search.surfaces.values().filter(|scanned| scanned.items > 0).count();
        let subjects = if search.searched.is_empty() { 0 } else { looked_through };
        judgement.subjects(subjects, search.sightings.iter().map(|sighting| leaked(record, sighting)));
        search.gaps.iter().for_each(|gap| judgement.doubt(format!("not looked through: {gap}")));
    }
    let unscannable = unscannable(&searches);
    if !unscannable.is_empty() {
        judgement.doubt(format!(
            "{} cannot be looked for, being shorter than 8 bytes or public in all parts: \
             make the value longer, or declare it `public = true`",
            unscannable.into_iter().collect::<Vec<_>>().join(", ")
        ));
    }
    Some(judgement)
}

fn unscannable<'r>(searches: &[&'r LeaksObservation]) -> BTreeSet<&'r str> {
    searches.iter().flat_map(|search| &search.unscannable).map(String::as_str).collect()
}

fn leaked(record: &Record, sighting: &LeakSighting) -> Mismatch {
    let own = record.expectations.secrets.get(&sighting.secret).map(|secret| secret.path.as_str());
    mismatch(
        format!("{} in {}", sighting.secret, sighting.place),
        own.map_or_else(|| "nowhere".to_owned(), |path| format!("{path} alone holds it")),
        format!("{}, {} at byte {}", sighting.surface, sighting.form, sighting.offset),
        remedy(&sighting.surface),
    )
}

/// What to do, by the kind of place.
fn remedy(surface: &str) -> &'static str {
    match surface {
        "nix store" => {
            "everybody reads the store: name the secret's file in the configuration, never its value, and rotate it"
        }
        "process arguments" => {
            "every account sees arguments: have the program read the secret's file or its standard input"
        }
        "process environments" => {
            "children and crash reports inherit it: use LoadCredential= or the secret's file instead of Environment="
        }
        "journal" => "turn down what the program logs, rotate the secret, and vacuum the journal",
        "git" => "it stays in the history: rotate the secret",
        "core dumps" => {
            "turn dumps off for what holds secrets (LimitCORE=0, Storage=none), remove the dump, and rotate"
        }
        "swap" => "encrypt swap with a random key, or turn it off for units that hold secrets (MemorySwapMax=0)",
        "harness" => "it was removed from the bundle; find what told it to the harness, and rotate the secret",
        _ => {
            "find what copies it, have that read the secret's own file instead, remove the copy, and rotate the secret"
        }
    }
}
