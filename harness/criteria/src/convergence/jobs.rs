//! Which jobs a switch had, whoever told.

use coldproof_evidence::{
    guest::JournalObservation,
    rebuild::{JobResult, RebuildObservation},
};

/// The jobs that the recorder was told of. For the spans in which systemd could not tell it, as while systemd executes
/// itself anew, those that the journal has. With them comes why jobs may be missing all the same, if so.
pub(super) fn jobs<'r>(
    switch: &'r RebuildObservation,
    journal: Option<&'r JournalObservation>,
) -> (Vec<&'r JobResult>, Option<String>) {
    let mut jobs: Vec<&JobResult> = switch.jobs.iter().collect();
    if switch.subscribed_throughout {
        return (jobs, None);
    }
    let gaps = &switch.subscription_gaps;
    let journal_jobs = journal.into_iter().flat_map(|journal| &journal.jobs);
    jobs.extend(journal_jobs.filter(|job| gaps.iter().any(|gap| gap.contains(job.at_us))));
    let whole = journal.is_some_and(|journal| journal.entries > 0 && journal.gaps.is_empty());
    let doubt = if gaps.is_empty() {
        Some("the subscription to job results did not last from before the switch until after it".to_owned())
    } else if whole {
        None
    } else {
        let milliseconds: u64 = gaps.iter().map(|gap| gap.to_us.saturating_sub(gap.from_us) / 1000).sum();
        Some(format!("job results could not be received for {milliseconds} ms, and the journal is not whole"))
    };
    (jobs, doubt)
}
