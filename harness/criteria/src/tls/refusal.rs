//! `tls.protocols` and `tls.unknown-name`: what a server must refuse.

use coldproof_evidence::{
    Mismatch, Record,
    served::{Reception, TlsObservation},
};

use super::{NO_PROBE, WITHOUT_LEAF, certificate};
use crate::{
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const PROTOCOLS: Criterion = Criterion::new(
    "tls.protocols",
    "a client that offers nothing newer than TLS 1.1 is refused under every declared name (RFC 8996)",
    &[Need::Tls],
    protocols,
)
.requiring(Requires::System)
.blocked_by(WITHOUT_LEAF)
.declared_when(|expected| expected.tls.is_some())
.of_an_original();

pub(crate) const UNKNOWN_NAME: Criterion = Criterion::new(
    "tls.unknown-name",
    "a client that asks for a name which is not the host's gets no certificate, or none but the committed one",
    &[Need::Sops, Need::Tls],
    unknown_name,
)
.requiring(Requires::System)
.blocked_by(WITHOUT_LEAF)
.declared_when(|expected| expected.tls.is_some())
.of_an_original();

fn protocols(record: &Record) -> Option<Judgement> {
    let tls = record.tls.facts()?;
    let mut judgement = Judgement::new(NO_PROBE);
    for name in record.expectations.tls.iter().flat_map(|expected| &expected.names) {
        if tls.old_versions.iter().all(|probe| probe.name != *name) {
            judgement.doubt(format!("{name} was not asked for with an old version"));
        }
    }
    for probe in &tls.old_versions {
        let subject = format!("{} ({})", probe.name, probe.version);
        let expected = "a refusal: the oldest version that may be spoken is TLSv1.2";
        match refusal(tls, &probe.reception) {
            Refusal::Given => judgement.subject(None),
            Refusal::Missing(version) => judgement.subject([mismatch(
                subject,
                expected,
                format!("{} goes on in {version}", probe.peer),
                "allow TLSv1.2 and TLSv1.3 only (nginx: `ssl_protocols TLSv1.2 TLSv1.3;`)",
            )]),
            Refusal::NobodyThere => judgement.absence(nobody(subject, expected, &probe.peer)),
            Refusal::Unknown(cause) => judgement.doubt(format!("{subject}: {cause}")),
        }
    }
    Some(judgement)
}

fn unknown_name(record: &Record) -> Option<Judgement> {
    let (sops, tls) = (record.sops.facts()?, record.tls.facts()?);
    let mut judgement = Judgement::new(NO_PROBE);
    let Some(committed) = sops.certificate.as_ref().and_then(|committed| committed.chain_der.first()) else {
        judgement.doubt("the certificate in git could not be read");
        return Some(judgement);
    };
    let expected = format!("no certificate, or {} (the leaf in git)", certificate::fingerprint(committed));
    for probe in &tls.unknown_names {
        match refusal(tls, &probe.reception) {
            Refusal::Given => judgement.subject(None),
            Refusal::Missing(leaf) => judgement.subject((leaf != committed).then(|| {
                mismatch(
                    &probe.name,
                    &expected,
                    format!("{} (served by {})", certificate::fingerprint(leaf), probe.peer),
                    "give the default server no certificate of its own: refuse the handshake there (nginx: \
                     `ssl_reject_handshake on;`), or serve the committed one",
                )
            })),
            Refusal::NobodyThere => judgement.absence(nobody(&probe.name, &expected, &probe.peer)),
            Refusal::Unknown(cause) => judgement.doubt(format!("{}: {cause}", probe.name)),
        }
    }
    Some(judgement)
}

enum Refusal<'r> {
    Given,
    /// What was accepted.
    Missing(&'r str),
    /// Closed without a word, as a port is behind which nobody listens.
    NobodyThere,
    Unknown(&'r str),
}

/// Whether the server refused. A connection that ends without a word is a refusal only where somebody is there who
/// serves a certificate to those that ask for what they may.
fn refusal<'r>(tls: &TlsObservation, reception: &'r Reception) -> Refusal<'r> {
    match reception {
        Reception::Accepted(what) => Refusal::Missing(what),
        Reception::Refused(_) => Refusal::Given,
        Reception::Closed if tls.probes.iter().any(|probe| !probe.chain_der.is_empty()) => Refusal::Given,
        Reception::Closed => Refusal::NobodyThere,
        Reception::Unanswered(cause) => Refusal::Unknown(cause),
    }
}

fn nobody(subject: impl Into<String>, expected: &str, peer: &str) -> Mismatch {
    mismatch(
        subject,
        expected,
        format!("{peer} ends every connection, and serves nobody a certificate"),
        "have a service listen on the port under [tls], from outside the guest as well",
    )
}
