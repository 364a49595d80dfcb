//! How a run tells a person where it is, and how long each part took.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// A part of a run that a person wants to see and that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Finding, building or checking the blank image.
    Image,
    /// Cloning the repositories on the controller and looking at the sops files.
    Source,
    /// Booting or forking the subject machine until its guest answers.
    Boot,
    /// Looking at the blank machine.
    Blank,
    /// Delivering the one secret.
    Bootstrap,
    /// Cloning in the guest.
    Clone,
    /// The one switch.
    Switch,
    /// The observer's round trip.
    Observe,
    /// Hashing the closure again, apart from the rest of the observation.
    Rehash,
    /// Looking for secrets in the guest.
    Leaks,
    /// TLS and HTTP from outside.
    Probe,
    /// The second switch.
    SecondSwitch,
    /// The reboot, and everything that is observed after it.
    Reboot,
    /// The same on a larger machine.
    Resize,
    /// From the previous revision to this one and back, on a machine of its own (runs beside the others).
    Upgrade,
    /// The independent build on a second machine (runs beside the others).
    Reproduce,
    /// A blank machine of its own that is switched without the key (beside the others, like the two that follow).
    MissingKey,
    /// The same with another key.
    WrongKey,
    /// The same without the certificate.
    MissingCertificate,
    /// Tracing the units one by one on a machine of their own (beside the others).
    Trace,
    /// Destroying the machines and looking that nothing is left.
    Teardown,
    /// Judging the record.
    Judge,
}

impl Phase {
    /// The name in `timings`, without the `_ms`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Source => "source",
            Self::Boot => "boot",
            Self::Blank => "blank",
            Self::Bootstrap => "bootstrap",
            Self::Clone => "clone",
            Self::Switch => "switch",
            Self::Observe => "observe",
            Self::Rehash => "rehash",
            Self::Leaks => "leaks",
            Self::Probe => "probe",
            Self::SecondSwitch => "second_switch",
            Self::Reboot => "reboot",
            Self::Resize => "resize",
            Self::Upgrade => "upgrade",
            Self::Reproduce => "reproduce",
            Self::MissingKey => "missing_key",
            Self::WrongKey => "wrong_key",
            Self::MissingCertificate => "missing_certificate",
            Self::Trace => "trace",
            Self::Teardown => "teardown",
            Self::Judge => "judge",
        }
    }
}

/// Receives where a run is. Implementations draw bars or print lines; none may fail or wait.
pub trait Progress: Send + Sync {
    /// A phase began.
    fn began(&self, phase: Phase);
    /// What a phase is doing now; replaces what it said before.
    fn detail(&self, phase: Phase, line: &str);
    /// How much memory a phase uses in the guest now, in bytes.
    fn memory(&self, phase: Phase, bytes: u64) {
        let _ = (phase, bytes);
    }
    /// A phase ended.
    fn ended(&self, phase: Phase, milliseconds: u64);
    /// Something that should stay on the screen.
    fn note(&self, line: &str);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn began(&self, _: Phase) {}
    fn detail(&self, _: Phase, _: &str) {}
    fn ended(&self, _: Phase, _: u64) {}
    fn note(&self, _: &str) {}
}

/// Times phases and passes them on.
pub(super) struct Stopwatch<'a> {
    progress: &'a dyn Progress,
    began: Instant,
    spent: Mutex<BTreeMap<&'static str, u64>>,
}

impl<'a> Stopwatch<'a> {
    pub(super) fn start(progress: &'a dyn Progress) -> Self {
        Self { progress, began: Instant::now(), spent: Mutex::default() }
    }

    /// Runs `work` as `phase`; its time is recorded even when it fails.
    pub(super) async fn time<T>(&self, phase: Phase, work: impl Future<Output = T>) -> T {
        self.progress.began(phase);
        let began = Instant::now();
        let result = work.await;
        self.record(phase, millis(began));
        result
    }

    pub(super) fn record(&self, phase: Phase, milliseconds: u64) {
        self.progress.ended(phase, milliseconds);
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        *spent.entry(phase.name()).or_default() += milliseconds;
    }

    pub(super) fn detail(&self, phase: Phase, line: &str) {
        self.progress.detail(phase, line);
    }

    pub(super) fn memory(&self, phase: Phase, bytes: u64) {
        self.progress.memory(phase, bytes);
    }

    pub(super) fn note(&self, line: &str) {
        self.progress.note(line);
    }

    /// Milliseconds a phase, `<phase>_ms`, and `total_ms` so far.
    pub(super) fn timings(&self) -> BTreeMap<String, u64> {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut timings: BTreeMap<String, u64> =
            spent.iter().map(|(name, &spent)| (format!("{name}_ms"), spent)).collect();
        timings.insert("total_ms".to_owned(), millis(self.began));
        timings
    }
}

pub(super) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
