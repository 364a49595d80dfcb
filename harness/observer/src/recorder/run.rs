//! One recording, from before the command starts until after its last job's result has arrived.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use coldproof_evidence::rebuild::{Progress, RebuildObservation};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    files::{Files, PROGRESS, RESULT},
    jobs::Subscription,
    journal_line::JournalLine,
    memory::Memory,
    output::Output,
    process::Process,
    usage::Usage,
};
use crate::system::now_us;

/// How often memory, CPU time and disk are sampled.
const SAMPLE: Duration = Duration::from_millis(200);
/// How many samples there are to one report of the progress: each costs the rebuild some of its processor time.
const SAMPLES_A_REPORT: u32 = 5;

/// Runs `command` once and records it in `dir`. The command's failure is data, not an error.
///
/// # Errors
/// When the recording cannot be made. If the command was not even started, the result says so as well.
pub(crate) fn record(dir: &Path, command: &[String]) -> anyhow::Result<()> {
    let files = Files::take(dir)?;
    let started_us = now_us();
    let recorded = Subscription::new()
        .context("job results cannot be recorded")
        .and_then(|subscription| start(&files, subscription, command))
        .map_err(|error| error.context(format!("`{}` was not started", command.join(" "))));
    let (result, outcome) = match recorded {
        Ok(recording) => (recording.run(&files, command, started_us)?, Ok(())),
        Err(error) => {
            let result = RebuildObservation {
                argv: command.to_vec(),
                started_us,
                ended_us: now_us(),
                output: vec![format!("observer: {error:#}")],
                ..RebuildObservation::default()
            };
            (result, Err(error))
        }
    };
    files.replace(RESULT, &result)?;
    outcome
}

fn start(files: &Files, subscription: Subscription, command: &[String]) -> anyhow::Result<Recording> {
    let log = files.output_log()?;
    let (journal, usage, memory) = (JournalLine::follow(), Usage::start(), Memory::now());
    let began = Instant::now();
    let (process, pipe) = Process::start(command).context("it cannot be executed")?;
    Ok(Recording { subscription, process, output: Output::new(pipe, log), journal, usage, began, memory })
}

/// A recording under way.
struct Recording {
    subscription: Subscription,
    process: Process,
    output: Output,
    journal: JournalLine,
    usage: Usage,
    began: Instant,
    memory: Memory,
}

/// What has happened.
#[derive(Default)]
struct Events {
    job: bool,
    output: bool,
    journal: bool,
    ended: bool,
}

impl Recording {
    fn run(mut self, files: &Files, argv: &[String], started_us: u64) -> anyhow::Result<RebuildObservation> {
        let (mut next_sample, mut samples) = (self.began, 0_u32);
        loop {
            if Instant::now() >= next_sample {
                self.sample();
                if samples.is_multiple_of(SAMPLES_A_REPORT) {
                    files.replace(PROGRESS, &self.progress(false))?;
                }
                samples = samples.wrapping_add(1);
                next_sample = Instant::now() + SAMPLE;
            }
            let events = self.wait(next_sample)?;
            if events.job {
                self.subscription.receive();
            }
            if events.output {
                self.output.receive().context("reading the command's output")?;
            }
            if events.journal {
                self.journal.receive();
            }
            if events.ended {
                break;
            }
        }
        self.sample();
        let ended_us = now_us();
        files.replace(PROGRESS, &self.progress(true))?;
        let used = self.usage.finish(SAMPLE);
        let ended = self.process.finish().context("waiting for the command")?;
        let lines = self.output.finish().context("reading the command's output")?;
        let (jobs, gaps) = self.subscription.finish();
        Ok(RebuildObservation {
            argv: argv.to_vec(),
            exit_code: ended.exit_code,
            signal: ended.signal,
            started_us,
            ended_us,
            output: lines.lines,
            jobs,
            subscribed_throughout: gaps.is_empty(),
            subscription_gaps: gaps,
            failed_snippets: lines.failed_snippets,
            least_available_bytes: used.least_available,
            memory_peak_bytes: used.memory_peak,
            cpu_us: used.cpu_us.unwrap_or(ended.cpu_us),
            disk_peak_bytes: used.disk_peak,
            least_free_bytes: used.least_free,
            measured: used.measured,
        })
    }

    fn sample(&mut self) {
        self.memory = Memory::now();
        self.usage.sample(self.memory);
        self.subscription.renew();
    }

    fn progress(&self, ended: bool) -> Progress {
        Progress {
            ended,
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            journal_line: self.journal.line().to_owned(),
            memory_bytes: self.memory.used(),
        }
    }

    /// Waits until something happens or a sample is due.
    fn wait(&self, due: Instant) -> anyhow::Result<Events> {
        let mut fds = vec![PollFd::new(&self.process.ended, PollFlags::IN)];
        let (bus, pipe, journal) = (self.subscription.fd(), self.output.pipe(), self.journal.pipe());
        fds.extend(pipe.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        fds.extend(journal.map(|journal| PollFd::new(journal, PollFlags::IN)));
        fds.extend(bus.as_ref().map(|bus| PollFd::new(bus, PollFlags::IN)));
        let left = due.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).context("the time until the next sample")?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Events::default()),
            Err(error) => return Err(io::Error::from(error)).context("waiting for events"),
        }
        // An end of file or an error is an event too: reading tells which.
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |there: bool| there && ready.next().unwrap_or_default();
        Ok(Events {
            ended: next(true),
            output: next(pipe.is_some()),
            journal: next(journal.is_some()),
            job: next(bus.is_some()),
        })
    }
}
