//! Each declared URL, asked for from outside the guest.

use coldproof_evidence::Record;

use crate::{
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const HTTP: Criterion = Criterion::new(
    "services.http",
    "each declared URL answers as declared from outside the guest",
    &[Need::Http],
    http,
)
.requiring(Requires::System)
.blocked_by(&["convergence.no-failures", "services.units", "tls.leaf-equals-git", "tls.key-matches"])
.declared_when(|expected| !expected.urls.is_empty())
.of_an_original();

fn http(record: &Record) -> Option<Judgement> {
    let http = record.http.facts()?;
    let mut judgement = Judgement::new("the host definition declares no URL");
    for (service, declared) in &record.expectations.urls {
        let Some(probe) = http.probes.iter().find(|probe| probe.service == *service) else {
            judgement.doubt(format!("{} was not probed", declared.url));
            continue;
        };
        let expected = format!("status {}", declared.status);
        match &probe.status {
            Ok(status) => judgement.subject((*status != declared.status).then(|| {
                mismatch(
                    &declared.url,
                    expected,
                    format!("status {status}"),
                    format!("look at what serves [services.{service}], and at what it needs behind it"),
                )
            })),
            Err(cause) => judgement.absence(mismatch(
                &declared.url,
                expected,
                format!("no answer: {cause}"),
                "nothing answers from outside the guest: look for a closed port, or a service that listens on loopback only",
            )),
        }
    }
    Some(judgement)
}
