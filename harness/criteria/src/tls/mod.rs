//! `tls.*`: what is served is what git holds.

mod certificate;
mod refusal;
mod validity;

use coldproof_evidence::{
    Mismatch, Record,
    expectations::ExpectedTls,
    served::{TlsObservation, TlsProbe},
};

use self::certificate::Certificate;
pub(crate) use self::{
    refusal::{PROTOCOLS, UNKNOWN_NAME},
    validity::VALIDITY,
};
use crate::{
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch, or_nothing},
    need::Need,
};

pub(crate) const LEAF_EQUALS_GIT: Criterion = Criterion::new(
    "tls.leaf-equals-git",
    "SHA-256 of the served leaf is that of git's, for every declared name and a random name under the wildcard",
    &[Need::Sops, Need::Tls],
    leaf_equals_git,
)
.requiring(Requires::System)
.blocked_by(&["convergence.no-failures", "services.units"])
.declared_when(|expected| expected.tls.is_some())
.of_an_original();

pub(crate) const CHAIN: Criterion = Criterion::new(
    "tls.chain",
    "the served chain verifies to the declared roots without fetching anything",
    &[Need::Tls],
    chain,
)
.requiring(Requires::System)
.blocked_by(WITHOUT_LEAF)
.declared_when(|expected| expected.tls.is_some())
.of_an_original();

pub(crate) const KEY_MATCHES: Criterion = Criterion::new(
    "tls.key-matches",
    "the committed private key belongs to the committed leaf and to the served one, and the server proves that it has it",
    &[Need::Sops],
    key_matches,
)
.using(&[Need::Tls])
.declared_when(|expected| expected.tls.is_some())
.of_an_original();

pub(crate) const NAMES: Criterion = Criterion::new(
    "tls.names",
    "the served leaf's subjectAltName covers every probed name by the rules of RFC 9525",
    &[Need::Tls],
    names,
)
.requiring(Requires::System)
.blocked_by(WITHOUT_LEAF)
.declared_when(|expected| expected.tls.is_some())
.of_an_original();

const WITHOUT_LEAF: &[&str] = &["convergence.no-failures", "services.units", "tls.leaf-equals-git"];
const NO_PROBE: &str = "no TLS connection was tried";

fn leaf_equals_git(record: &Record) -> Option<Judgement> {
    let (sops, tls) = (record.sops.facts()?, record.tls.facts()?);
    let mut judgement = Judgement::new(NO_PROBE);
    let Some(committed) = sops.certificate.as_ref().and_then(|committed| committed.chain_der.first()) else {
        judgement.doubt("the certificate in git could not be read");
        return Some(judgement);
    };
    if let Some(expected) = &record.expectations.tls {
        unprobed(expected, tls, &mut judgement);
    }
    let expected = format!("{} (the leaf in git)", certificate::fingerprint(committed));
    for probe in &tls.probes {
        match probe.chain_der.first() {
            Some(served) => judgement.subject((served != committed).then(|| {
                mismatch(
                    &probe.name,
                    &expected,
                    format!("{} (served by {})", certificate::fingerprint(served), probe.peer),
                    "the service holds another certificate than git: reload it when the secret changes, serve the \
                     secret's own path, or commit the certificate that is meant to be served",
                )
            })),
            None => judgement.absence(no_certificate(probe, &expected)),
        }
    }
    Some(judgement)
}

fn unprobed(expected: &ExpectedTls, tls: &TlsObservation, judgement: &mut Judgement) {
    let missing = expected.names.iter().filter(|name| tls.probes.iter().all(|probe| probe.name != **name));
    for name in missing {
        judgement.doubt(format!("{name} was not probed"));
    }
    if expected.wildcard_probe && tls.probes.iter().all(|probe| !probe.random) {
        judgement.doubt("no random name under the wildcard was probed");
    }
}

fn no_certificate(probe: &TlsProbe, expected: &str) -> Mismatch {
    let cause = probe.handshake.as_ref().err().map_or("the connection ended", String::as_str);
    mismatch(
        &probe.name,
        expected,
        format!("no certificate from {}: {cause}", probe.peer),
        "have a service listen on the port under [tls], from outside the guest as well",
    )
}

fn chain(record: &Record) -> Option<Judgement> {
    let tls = record.tls.facts()?;
    let mut judgement = Judgement::new(NO_PROBE);
    for probe in &tls.probes {
        if probe.chain_der.is_empty() {
            judgement.absence(no_certificate(probe, "a chain to the declared roots"));
            continue;
        }
        judgement.subject(probe.path.as_ref().err().map(|cause| {
            mismatch(
                &probe.name,
                "a path from the served certificates to the declared roots",
                format!("{cause}; served: {}", certificate::subjects(&probe.chain_der)),
                "serve the leaf with every intermediate (nginx: the full chain in ssl_certificate), and check `roots` under [tls]",
            )
        }));
    }
    Some(judgement)
}

fn key_matches(record: &Record) -> Option<Judgement> {
    let sops = record.sops.facts()?;
    let mut judgement = Judgement::new("the host definition names no private key under [tls]");
    let Some(committed) = &sops.certificate else { return Some(judgement) };
    let Some(key) = &committed.key_spki_sha256 else { return Some(judgement) };
    judgement.subject(key_mismatch("git", &committed.leaf_spki_sha256, key));
    let probes = record.tls.facts().map(|tls| tls.probes.as_slice()).unwrap_or_default();
    for probe in probes {
        let Some(served) = probe.chain_der.first() else { continue };
        let Some(leaf) = Certificate::parse(served) else {
            judgement.doubt(format!("the leaf served for {} cannot be read", probe.name));
            continue;
        };
        let possession = probe.handshake.as_ref().err().map(|cause| {
            mismatch(
                &probe.name,
                "a handshake that proves possession of the leaf's key",
                cause,
                "the service has another private key than its certificate's: give it the committed pair",
            )
        });
        judgement.subject(key_mismatch(&probe.name, &leaf.spki_sha256, key).into_iter().chain(possession));
    }
    Some(judgement)
}

fn key_mismatch(subject: &str, leaf: &str, key: &str) -> Option<Mismatch> {
    (leaf != key).then(|| {
        mismatch(
            subject,
            format!("a leaf with the committed key's SubjectPublicKeyInfo (sha256:{key})"),
            format!("sha256:{}", or_nothing(leaf)),
            "certificate and private key do not belong together: commit both of one issuance",
        )
    })
}

fn names(record: &Record) -> Option<Judgement> {
    let tls = record.tls.facts()?;
    let mut judgement = Judgement::new(NO_PROBE);
    for probe in &tls.probes {
        let Some(served) = probe.chain_der.first() else {
            judgement.absence(no_certificate(probe, "a leaf that names it"));
            continue;
        };
        let Some(leaf) = Certificate::parse(served) else {
            judgement.doubt(format!("the leaf served for {} cannot be read", probe.name));
            continue;
        };
        judgement.subject((!leaf.covers(&probe.name)).then(|| {
            mismatch(
                &probe.name,
                "a subjectAltName that covers it (RFC 9525: `*` is one whole leftmost label, the common name does not count)",
                or_nothing(&leaf.names.join(", ")),
                "have the certificate issued for this name as well, and commit it",
            )
        }));
    }
    Some(judgement)
}
