//! Many machines: at once, and one after another with ends at random moments.

use std::{
    fmt::Display,
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coldproof_machines::budget::host_memory;
use rand::Rng as _;
use rustix::process::Signal;

use crate::{engine::Engine, leaks::finished};

const AT_ONCE: usize = 8;
/// Machines that are made one after another, and how many of their runs are killed.
const ROUNDS: u32 = 100;
const KILLED: u32 = 30;
/// A backstop: how soon everything is gone is measured, not tested.
const LIMIT: Duration = Duration::from_secs(120);

/// Eight machines run at once, each within its own limit and all within the computer's memory, and go away.
pub(crate) fn at_once(engine: &Engine) -> Result<()> {
    finished(&engine.coldproof(&["reference", "world"]).output()?)?;
    let before = engine.containers()?;
    let began = Instant::now();
    let runs: Vec<Child> = (0..AT_ONCE)
        .map(|run| Ok(proof(engine, run).arg("--keep").stderr(Stdio::piped()).spawn()?))
        .collect::<Result<_>>()?;
    for run in runs {
        finished(&run.wait_with_output()?)?;
    }
    let made: Vec<_> = engine.containers()?.into_iter().filter(|id| !before.contains(id)).collect();
    ensure!(made.len() == AT_ONCE, "{} machines run at once", made.len());
    let limits = made.iter().map(|id| engine.memory_limit(id)).collect::<Result<Vec<_>>>()?;
    let (declared, there) = (limits.iter().sum::<u64>(), host_memory()?);
    ensure!(limits.iter().all(|limit| *limit > 0) && declared <= there, "{limits:?} of {there}");
    eprintln!("{AT_ONCE} machines after {:?}: {} of {} MiB", began.elapsed(), declared >> 20, there >> 20);
    finished(&engine.coldproof(&["machines", "reap", "--kept"]).output()?)?;
    ensure!(engine.containers()? == before && leases(engine)? == 0, "something is left");
    Ok(())
}

/// A hundred machines are made and removed, thirty of them by a reaper, and nothing is left of any.
pub(crate) fn soak(engine: &Engine) -> Result<()> {
    finished(&engine.coldproof(&["reference", "world"]).output()?)?;
    let before = engine.containers()?;
    // The first run imports the image.
    finished(&proof(engine, 0).stderr(Stdio::piped()).output()?)?;
    let began = Instant::now();
    finished(&proof(engine, 1).stderr(Stdio::piped()).output()?)?;
    let whole = began.elapsed();
    let (mut killed, mut slowest) = (0, Duration::ZERO);
    for round in 1..=ROUNDS {
        let mut run = proof(engine, round + 1).stderr(Stdio::null()).spawn()?;
        // As likely as in any round that is left; a run that ended before its time makes one of those likelier.
        if rand::rng().random_ratio((KILLED - killed).min(ROUNDS - round + 1), ROUNDS - round + 1) {
            thread::sleep(whole.mul_f64(rand::rng().random()));
            run.kill()?;
        }
        let status = run.wait()?;
        let by_us = status.signal() == Some(Signal::KILL.as_raw());
        ensure!(by_us || status.success(), "round {round} ended with {status}");
        killed += u32::from(by_us);
        slowest = slowest.max(await_nothing(engine).with_context(|| format!("round {round}"))?);
    }
    let took = began.elapsed();
    ensure!(killed == KILLED, "only {killed} runs were still there to be killed");
    ensure!(engine.containers()? == before, "containers are left");
    eprintln!("{ROUNDS} rounds, {killed} killed, nothing left: {took:?}; gone {slowest:?} after the end at most");
    Ok(())
}

/// A proof that makes one machine, and no more than that.
fn proof(engine: &Engine, run: impl Display) -> Command {
    let proof =
        ["prove", "--host", "world/coldproof.toml", "--provider", "docker", "--only", "blank.inventory", "--out"];
    let mut command = engine.coldproof(&proof);
    command.arg(format!("bundle-{run}")).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Waits until no lease is left, whoever removes it; returns how long that took.
fn await_nothing(engine: &Engine) -> Result<Duration> {
    let began = Instant::now();
    while leases(engine)? > 0 {
        ensure!(began.elapsed() < LIMIT, "{} after {LIMIT:?}:\n{}", left(engine)?, reapers(engine)?);
        thread::sleep(Duration::from_millis(10));
    }
    Ok(began.elapsed())
}

/// What the reapers have said last.
fn reapers(engine: &Engine) -> Result<String> {
    let log = fs::read_to_string(engine.path("subject/reaper.log"))?;
    Ok(log.lines().rev().take(5).collect::<Vec<_>>().join("\n"))
}

/// The ledger's entries, as they are.
fn left(engine: &Engine) -> Result<String> {
    let files = fs::read_dir(engine.path("subject/ledger"))?;
    let entries: Vec<_> = files.map(|file| Ok(fs::read_to_string(file?.path())?)).collect::<Result<_>>()?;
    Ok(format!("{} leases are left: {}", entries.len(), entries.join("\n")))
}

fn leases(engine: &Engine) -> Result<usize> {
    match fs::read_dir(engine.path("subject/ledger")) {
        Ok(entries) => Ok(entries.count()),
        // A run that was killed early has not made it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}
