//! Live progress of a self-test: a line for each trial that runs, and one that stays for each that has ended.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use coldproof_selftest::{CLEAN, Trial};
use coldproof_testbed::run::{Phase, Progress};
use indicatif::ProgressBar;

use crate::progress::{lasting, live};

/// Columns for the name of a fault.
const WIDTH: usize = 28;

/// Counts the trials that have ended.
pub(super) struct Display {
    ended: AtomicUsize,
    total: usize,
}

impl Display {
    pub(super) const fn new(total: usize) -> Self {
        Self { ended: AtomicUsize::new(0), total }
    }

    /// Says how a trial ended.
    pub(super) fn ended(&self, trial: &Trial) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        let seconds = Duration::from_millis(trial.total_ms).as_secs_f64();
        let (name, word) = (trial.name, trial.outcome.word());
        lasting(&format!("· {ended:>2}/{} {name:<WIDTH$} {seconds:>6.1} s  {word}", self.total));
    }
}

/// The line of a trial that runs. It goes away with this value.
pub(super) struct Line(ProgressBar);

impl Line {
    pub(super) fn new(name: Option<&str>) -> Self {
        Self(live(name.unwrap_or(CLEAN), WIDTH))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Line {
    fn began(&self, phase: Phase) {
        self.0.set_message(phase.name());
    }

    fn detail(&self, phase: Phase, line: &str) {
        if phase == Phase::Image {
            self.0.set_message(format!("image: {line}"));
        }
    }

    fn ended(&self, _: Phase, _: u64) {}

    fn note(&self, line: &str) {
        lasting(line);
    }
}
