//! Each declared unit.

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
