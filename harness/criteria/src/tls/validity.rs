//! `tls.validity`: the served leaf is valid, and stays so for a while.

use coldproof_evidence::{Mismatch, Record};

use super::{NO_PROBE, WITHOUT_LEAF, certificate::Certificate, no_certificate};
use crate::{
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const VALIDITY: Criterion = Criterion::new(
    "tls.validity",
    "each served leaf was valid when it was looked at, with the declared number of days left",
    &[Need::Tls],
    validity,
)
.requiring(Requires::System)
.blocked_by(WITHOUT_LEAF)
.declared_when(|expected| expected.tls.is_some())
.of_an_original();

const DAY: i64 = 24 * 60 * 60;

fn validity(record: &Record) -> Option<Judgement> {
    let tls = record.tls.facts()?;
    let mut judgement = Judgement::new(NO_PROBE);
    let Some(expected) = &record.expectations.tls else { return Some(judgement) };
    for probe in &tls.probes {
        let Some(served) = probe.chain_der.first() else {
            judgement.absence(no_certificate(probe, "a valid leaf"));
            continue;
        };
        let Some(leaf) = Certificate::parse(served) else {
            judgement.doubt(format!("the leaf served for {} cannot be read", probe.name));
            continue;
        };
        judgement.subject(invalid(&probe.name, &leaf, tls.at_secs, expected.min_days));
    }
    Some(judgement)
}

/// What is wrong with the leaf's dates (RFC 5280, section 4.1.2.5) at the time of the observation.
fn invalid(name: &str, leaf: &Certificate, at_secs: i64, min_days: u32) -> Option<Mismatch> {
    let left = (leaf.not_after.0 - at_secs).div_euclid(DAY);
    let got = if at_secs < leaf.not_before.0 {
        format!("valid only from {}", leaf.not_before.1)
    } else if at_secs > leaf.not_after.0 {
        format!("expired on {}", leaf.not_after.1)
    } else if left < i64::from(min_days) {
        format!("{left} days left: it expires on {}", leaf.not_after.1)
    } else {
        return None;
    };
    Some(mismatch(
        name,
        format!("a leaf that is valid now and for {min_days} days more"),
        got,
        "have the certificate issued anew and commit it, or lower `min-days` under [tls]; if the dates are good, set the \
         controller's clock",
    ))
}
