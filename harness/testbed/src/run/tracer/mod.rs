//! The tracer: a machine of its own on which the units of the switch run one at a time, under strace.
//!
//! The switch itself starts nothing there: every service of the host's own is held back by a condition. What the switch
//! left is then the state from which each unit is started, with nothing but its predecessors before it. Last, pairs that
//! may get into each other's way are made to.

mod drop_in;
mod guest;
mod meeting;
mod order;
mod trace;

use coldproof_criteria::Need;
use coldproof_evidence::{Observed, ordering::OrderingObservation};
use coldproof_machines::provider::Priority;

use self::guest::Tracer;
use super::{Phase, RunError, setting::Setting};

/// Traces on a machine of its own. Its troubles leave the trace unavailable; they never end the run.
pub(super) async fn run(setting: &Setting<'_>) -> Result<Observed<OrderingObservation>, RunError> {
    if !setting.selection.needs(Need::Ordering) || setting.expectations.shared.is_none() {
        return Ok(Observed::NotObserved);
    }
    let work = async {
        let (machine, session) = setting.machine("tracer", Priority::Background).await?;
        let traced = observe(&Tracer::new(setting, session)).await;
        setting.discard(machine).await?;
        traced
    };
    Ok(match setting.stopwatch.time(Phase::Trace, work).await {
        Ok(ordering) => Observed::of(ordering),
        Err(error) => Observed::Unavailable { cause: format!("the trace of the units: {error}") },
    })
}

async fn observe(tracer: &Tracer<'_>) -> Result<OrderingObservation, RunError> {
    let switch = tracer.switch_without_units().await?;
    let mut ordering = OrderingObservation::default();
    if switch.exit_code != Some(0) {
        ordering
            .gaps
            .push("the switch that starts no unit did not succeed, so that units may lack what it makes".into());
    }
    if !switch.subscribed_throughout {
        ordering.gaps.push("some of the switch's jobs may have been missed".into());
    }
    let units = tracer.units(&switch).await?;
    ordering.transaction = units.iter().map(|(name, unit)| (name.clone(), unit.order.clone())).collect();
    let held = tracer.prepare().await?;
    let mut world = trace::units(tracer, &units, &held, &mut ordering).await?;
    meeting::force(tracer, &mut world, &mut ordering).await?;
    Ok(ordering)
}
