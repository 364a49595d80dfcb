//! Ends `coldproof prove` in the ways in which people and systems do, and looks that nothing is left.
//!
//! At chosen points, and once in each way at a random moment; `COLDPROOF_SOAK_ROUNDS` asks for more of those.

mod build;
mod home;
mod points;

use std::{
    env, io,
    io::{BufRead as _, BufReader},
    process::{ChildStderr, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use rand::Rng as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use build::ended_build;
use home::{Home, wait};
use points::{Point, ended_at};

/// How many lines a whole proof prints before its report, about.
const LINES: usize = 20;
/// How long after a line the end comes, at most: some phases take seconds without a line.
const AFTER_LINE: Duration = Duration::from_millis(2500);

/// How a command is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Ctrl-C, which a terminal sends to the whole process group.
    Interrupt,
    /// Somebody impatient: again, while it cleans up.
    InterruptTwice,
    Terminate,
    HangUp,
    /// It has no chance to clean up.
    Kill,
}

impl Way {
    const ALL: [Self; 5] = [Self::Interrupt, Self::InterruptTwice, Self::Terminate, Self::HangUp, Self::Kill];

    fn end(self, pid: Pid) -> Result<()> {
        match self {
            Self::Interrupt => kill_process_group(pid, Signal::INT)?,
            Self::InterruptTwice => {
                kill_process_group(pid, Signal::INT)?;
                thread::sleep(random(Duration::from_millis(100)));
                // It may be gone already.
                let _ = kill_process_group(pid, Signal::INT);
            }
            Self::Terminate => kill_process(pid, Signal::TERM)?,
            Self::HangUp => kill_process_group(pid, Signal::HUP)?,
            Self::Kill => kill_process(pid, Signal::KILL)?,
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let rounds: usize = env::var("COLDPROOF_SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let mut trials = Vec::new();
    for way in Way::ALL {
        trials.extend(Point::ALL.map(|point| {
            let name = format!("nothing_is_left::{way:?}::at_{}_{}", point.program, point.subcommand);
            trial(name, move || ended_at(point, way))
        }));
        trials.push(trial(format!("nothing_is_left::{way:?}::of_a_build"), move || ended_build(way)));
        // The tag is the one of scenarios, so that the same filters select these.
        trials.extend(
            (1..=rounds)
                .map(|round| trial(format!("nothing_is_left::{way:?}::{round}::@qemu"), move || ended_somewhere(way))),
        );
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: String, run: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))))
}

/// Ends a proof at a random moment.
fn ended_somewhere(way: Way) -> Result<()> {
    let home = Home::new()?;
    let mut child = home.prove().spawn()?;
    let pid = Pid::from_child(&child);
    let (lines, pause) = (rand::rng().random_range(0..LINES), random(AFTER_LINE));
    let mut stderr = BufReader::new(child.stderr.take().context("piped")?);
    let said = wait_for_lines(&mut stderr, lines)?;
    thread::sleep(pause);
    if let Some(status) = child.try_wait()? {
        ensure!(status.success(), "the proof ended by itself, with {status}:\n{said}");
        return home.await_nothing(&[], Instant::now()).map(drop);
    }
    let leases = home.leases();
    let began = Instant::now();
    way.end(pid)?;
    let status = wait(&mut child)?;
    let gone = home.await_nothing(&leases, began)?;
    eprintln!("{way:?} {pause:?} after line {lines}: {status} and nothing left within {gone:?}; it had said:\n{said}");
    // A proof that is ended says neither that it holds nor that it fails, unless it has just come to its end.
    ensure!(status.code() != Some(1), "{status}");
    Ok(())
}

/// Reads this many lines, or what there is until the end.
fn wait_for_lines(stderr: &mut BufReader<ChildStderr>, lines: usize) -> io::Result<String> {
    let mut said = String::new();
    for _ in 0..lines {
        stderr.read_line(&mut said)?;
    }
    Ok(said)
}

fn random(limit: Duration) -> Duration {
    limit.mul_f64(rand::rng().random())
}
