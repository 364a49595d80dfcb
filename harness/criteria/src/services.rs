//! `services.*`: what the host is for.

use coldproof_evidence::{Mismatch, Record, expectations::ExpectedUnit, guest::UnitObservation};

use crate::{
    convergence,
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const UNITS: Criterion = Criterion::new(
    "services.units",
    "each declared unit is in its declared state, and the main process of a service runs",
    &[Need::System],
    units,
)
.requiring(Requires::System)
.declared_when(|expected| !expected.units.is_empty())
.of_an_original();

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

/// Types whose active state means that a process runs; `oneshot` is active without one.
const WITH_PROCESS: [&str; 7] = ["simple", "exec", "notify", "notify-reload", "forking", "dbus", "idle"];

fn units(record: &Record) -> Option<Judgement> {
    let system = record.system.facts()?;
    let mut judgement = Judgement::new("the host definition declares no unit");
    for (service, declared) in &record.expectations.units {
        judgement.subject(unit_mismatch(service, declared, convergence::unit(system, &declared.unit)));
    }
    Some(judgement)
}

fn unit_mismatch(service: &str, declared: &ExpectedUnit, found: Option<&UnitObservation>) -> Option<Mismatch> {
    let ExpectedUnit { unit, state } = declared;
    let Some(found) = found else {
        return Some(mismatch(
            unit,
            state,
            "no such unit",
            format!("have the configuration provide it, or correct `unit` under [services.{service}]"),
        ));
    };
    let needs_process = state == "active" && WITH_PROCESS.contains(&found.service_type.as_str());
    let holds = found.active_state == *state && (!needs_process || found.sub_state == "running");
    (!holds).then(|| {
        mismatch(
            unit,
            if needs_process { format!("{state} (running)") } else { state.clone() },
            format!("{} ({}), result {}", found.active_state, found.sub_state, found.result),
            format!("a service must stay up by itself: prove with --keep and read `journalctl -u {unit}` in the guest"),
        )
    })
}

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
