//! Building again, and building from the same source under another name.

use coldproof_evidence::{
    Expectations, Mismatch, Record,
    builds::{Repeated, SourceForm},
};

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch},
    need::Need,
};

/// A revision that does not build fails the switch, and has nothing that could be built again.
pub(super) const WITHOUT_BUILD: &[&str] = &["convergence.one-switch"];

pub(crate) const DETERMINISTIC: Criterion = Criterion::new(
    "identity.deterministic",
    "what a machine has built of the closure it rebuilds bit for bit",
    &[Need::RepeatedBuilds],
    deterministic,
)
.blocked_by(WITHOUT_BUILD);

pub(crate) const SOURCE_FORMS: Criterion = Criterion::new(
    "identity.source-forms",
    "a plain directory (`path:`) evaluates to the same toplevel as the git checkout (`git+file:…?submodules=1`)",
    &[Need::SourceForms],
    source_forms,
)
.blocked_by(WITHOUT_BUILD)
.declared_when(|expected| waiver(expected, "path").is_none());

fn deterministic(record: &Record) -> Option<Judgement> {
    let repeated = record.repeated_builds.facts()?;
    let mut judgement = Judgement::new("no path of the closure was built on the second machine");
    for build in &repeated.derivations {
        match &build.result {
            Repeated::Identical => judgement.subject(None),
            Repeated::Differs(words) => judgement.subject(build.outputs.iter().map(|output| differs(output, words))),
            Repeated::Failed(words) => judgement.doubt(format!("{} was not built again: {words}", build.derivation)),
        }
    }
    Some(judgement)
}

fn differs(output: &str, words: &str) -> Mismatch {
    mismatch(
        output,
        "the same bytes from a second build on the same machine",
        words,
        "keep times, random values and the order of directories and threads out of the build: \
         `nix build --rebuild --keep-failed` leaves the second output beside the first, and diffoscope shows where",
    )
}

fn source_forms(record: &Record) -> Option<Judgement> {
    let forms = &record.source_forms.facts()?.forms;
    let Some((SourceForm { reference, toplevel: Ok(built), .. }, others)) = forms.split_first() else {
        return Some(Judgement::new("the source was evaluated under no name"));
    };
    let wrong = |form: &SourceForm| {
        let got = match &form.toplevel {
            Ok(toplevel) if toplevel == built => return None,
            Ok(toplevel) => toplevel.clone(),
            Err(words) => format!("an evaluation that failed: {words}"),
        };
        Some(mismatch(&form.reference, format!("{built} (from {reference})"), got, remedy(&form.scheme)))
    };
    let (waived, wrong): (Vec<_>, Vec<_>) = others
        .iter()
        .map(|form| (wrong(form), waiver(&record.expectations, &form.scheme)))
        .partition(|(wrong, reason)| wrong.is_some() && reason.is_some());
    let reasons = waived.iter().filter_map(|(_, reason)| *reason).collect::<Vec<_>>().join("; ");
    let nothing =
        if reasons.is_empty() { "the source has one name only".to_owned() } else { format!("waived: {reasons}") };
    let mut judgement = Judgement::new(nothing);
    wrong.into_iter().for_each(|(wrong, _)| judgement.subject(wrong));
    Some(judgement)
}

fn remedy(scheme: &str) -> String {
    format!(
        "the toplevel depends on where its source came from: keep self.rev, self.lastModified and paths below self out of \
         what is built; where the revision is meant to be in it, waive this: \
         waive = [{{ what = \"source-form:{scheme}\", reason = \"…\" }}] under [coverage]"
    )
}

/// Why this source form may lead to another toplevel, if the host definition says so.
fn waiver<'e>(expected: &'e Expectations, scheme: &str) -> Option<&'e str> {
    let what = format!("source-form:{scheme}");
    let waiver = expected.waivers.iter().find(|waiver| waiver.what == what && !waiver.reason.trim().is_empty());
    waiver.map(|waiver| waiver.reason.as_str())
}
