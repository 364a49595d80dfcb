//! What git builds against what the original runs.

use coldproof_evidence::Record;

use super::builds::WITHOUT_BUILD;
use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const ORIGINAL: Criterion = Criterion::new(
    "identity.original",
    "what git builds on an independent machine is what the original runs",
    &[Need::Reproduction],
    original,
)
.blocked_by(WITHOUT_BUILD)
.declared_when(|expected| expected.toplevel.is_some());

fn original(record: &Record) -> Option<Judgement> {
    let built = &record.reproduction.facts()?.toplevel;
    let mut judgement =
        Judgement::new("the host definition names no original: `toplevel` under [host] says what it runs");
    if let Some(claimed) = &record.expectations.toplevel {
        judgement.subject((claimed != built).then(|| {
            mismatch(
                "[host] toplevel",
                format!("{built} (what git builds)"),
                format!("{claimed} (what the original is said to run)"),
                "the revision does not build what the original runs: commit what built that, \
                 or switch the original to the revision and declare what it then runs",
            )
        }));
    }
    Some(judgement)
}
