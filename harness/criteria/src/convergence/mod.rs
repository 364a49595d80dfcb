//! `convergence.*`: one switch, without a failure, to a state that a second switch leaves alone.

mod jobs;
mod starts;
mod switch;
mod units;
mod words;

pub(crate) use switch::{IDEMPOTENT, ONE_SWITCH, activation_failed, switch_mismatch, unmet};
pub(crate) use units::{NO_FAILURES, RUNNING, unit};

/// Job results that are no failure: it was done, or there was nothing to do.
///
/// `canceled` is a job that another one replaced, `collected` one whose unit was unloaded, `skipped` one that did not
/// apply to the unit's state (`job_result_to_string` in systemd's src/core/job.c).
const HARMLESS_JOBS: [&str; 4] = ["done", "skipped", "canceled", "collected"];
