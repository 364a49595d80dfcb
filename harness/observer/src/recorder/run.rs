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
    memory::{Memory, cgroup_peak},
    output::Output,
    process::Process,
};
use crate::system::now_us;

/// How often memory is sampled and progress is written.
const SAMPLE: Duration = Duration::from_millis(200);

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
    let began = Instant::now();
    let (process, pipe) = Process::start(command).context("it cannot be executed")?;
    let memory = Memory::now();
    Ok(Recording { subscription, process, output: Output::new(pipe, log), began, memory, least: memory.available })
}

/// A recording under way.
struct Recording {
    subscription: Subscription,
    process: Process,
    output: Output,
    began: Instant,
    memory: Memory,
    least: u64,
}

/// What has happened.
struct Events {
    job: bool,
    output: bool,
    ended: bool,
}

impl Recording {
    fn run(mut self, files: &Files, argv: &[String], started_us: u64) -> anyhow::Result<RebuildObservation> {
        let mut next_sample = self.began;
        loop {
            if Instant::now() >= next_sample {
                self.sample();
                files.replace(PROGRESS, &self.progress(false))?;
                next_sample = Instant::now() + SAMPLE;
            }
            let events = self.wait(next_sample)?;
            if events.job {
                self.subscription.receive();
            }
            if events.output {
                self.output.receive().context("reading the command's output")?;
            }
            if events.ended {
                break;
            }
        }
        self.sample();
        let ended_us = now_us();
        let progress = self.progress(true);
        let ended = self.process.finish().context("waiting for the command")?;
        let lines = self.output.finish().context("reading the command's output")?;
        let (jobs, subscribed_throughout) = self.subscription.finish();
        files.replace(PROGRESS, &progress)?;
        Ok(RebuildObservation {
            argv: argv.to_vec(),
            exit_code: ended.exit_code,
            signal: ended.signal,
            started_us,
            ended_us,
            output: lines.lines,
            jobs,
            subscribed_throughout,
            failed_snippets: lines.failed_snippets,
            memory_peak_bytes: cgroup_peak(),
            least_available_bytes: self.least,
            cpu_us: ended.cpu_us,
        })
    }

    fn sample(&mut self) {
        self.memory = Memory::now();
        self.least = self.least.min(self.memory.available);
        self.subscription.renew();
    }

    fn progress(&self, ended: bool) -> Progress {
        Progress {
            ended,
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            last_line: self.output.last_line().to_owned(),
            memory_bytes: self.memory.used(),
        }
    }

    /// Waits until something happens or a sample is due.
    fn wait(&self, due: Instant) -> anyhow::Result<Events> {
        let mut fds = vec![PollFd::new(&self.process.ended, PollFlags::IN)];
        let (bus, pipe) = (self.subscription.fd(), self.output.pipe());
        fds.extend(pipe.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        fds.extend(bus.as_ref().map(|bus| PollFd::new(bus, PollFlags::IN)));
        let left = due.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).context("the time until the next sample")?;
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Events { job: false, output: false, ended: false }),
            Err(error) => return Err(io::Error::from(error)).context("waiting for events"),
        }
        // An end of file or an error is an event too: reading tells which.
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |there: bool| there && ready.next().unwrap_or_default();
        Ok(Events { ended: next(true), output: next(pipe.is_some()), job: next(bus.is_some()) })
    }
}
