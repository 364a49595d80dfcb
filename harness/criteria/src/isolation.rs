//! `isolation.egress`: a guest that holds real secrets talks to nobody else.

use coldproof_evidence::{Record, served::EgressAttempt};

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const EGRESS: Criterion = Criterion::new(
    "isolation.egress",
    "the guest tried to reach nothing but what the host definition allows, and every attempt is recorded",
    &[Need::Egress],
    egress,
);

fn egress(record: &Record) -> Option<Judgement> {
    let egress = record.egress.facts()?;
    let allowed = &record.expectations.allowed_egress;
    let mut judgement = Judgement::new("the capture shows no traffic at all, not even the harness's own");
    if let Some(cause) = &egress.incomplete {
        judgement.doubt(format!("the capture may be incomplete: {cause}"));
    }
    for attempt in &egress.attempts {
        let expected = !attempt.declared_as.is_empty() || is_allowed(attempt, allowed);
        judgement.subject((!expected).then(|| {
            let fate = if attempt.allowed { "it got through" } else { "it was refused" };
            mismatch(
                &attempt.destination,
                "only destinations under [network] allow",
                format!("tried {} times by {}; {fate}", attempt.count, attempt.protocol),
                "find what in the guest asks for it and turn that off, or add `host:port` to allow under [network]",
            )
        }));
    }
    Some(judgement)
}

/// Whether a declared destination covers the attempt; asking DNS for a declared host is part of reaching it.
fn is_allowed(attempt: &EgressAttempt, allowed: &[String]) -> bool {
    let host = |destination: &str| destination.rsplit_once(':').map(|(host, _)| host.to_owned());
    allowed.iter().any(|declared| {
        *declared == attempt.destination
            || (attempt.protocol == "dns"
                && host(declared).as_deref() == Some(attempt.destination.trim_end_matches('.')))
    })
}
