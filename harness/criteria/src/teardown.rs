//! `teardown.clean`: nothing of the run is left.

use coldproof_evidence::Record;

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const CLEAN: Criterion = Criterion::new(
    "teardown.clean",
    "nothing that the run made is left: machines, disks, sockets, key files, leases",
    &[Need::Teardown],
    clean,
)
.of_an_original();

fn clean(record: &Record) -> Option<Judgement> {
    let teardown = record.teardown.facts()?;
    if teardown.kept {
        return Some(Judgement::new("a machine was kept on purpose (--keep)"));
    }
    let mut judgement = Judgement::new("the ledger lists nothing that the run made");
    for item in &teardown.items {
        judgement.subject((!item.gone).then(|| {
            mismatch(
                format!("{} {}", item.kind, item.what),
                "gone",
                item.reason
                    .as_ref()
                    .map_or_else(|| "still there".to_owned(), |reason| format!("still there: {reason}")),
                "run `coldproof machines reap`, and report what made it if it comes back",
            )
        }));
    }
    Some(judgement)
}
