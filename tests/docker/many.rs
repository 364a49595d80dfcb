//! Many machines at once.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use crate::{engine::Engine, leaks::finished};

const AT_ONCE: usize = 8;

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
    let (declared, there) = (limits.iter().sum::<u64>(), memory()?);
    ensure!(limits.iter().all(|limit| *limit > 0) && declared <= there, "{limits:?} of {there}");
    eprintln!("{AT_ONCE} machines after {:?}: {} of {} MiB", began.elapsed(), declared >> 20, there >> 20);
    finished(&engine.coldproof(&["machines", "reap", "--kept"]).output()?)?;
    ensure!(engine.containers()? == before && leases(engine)? == 0, "something is left");
    Ok(())
}

/// A proof that makes one machine, and no more than that.
fn proof(engine: &Engine, run: usize) -> Command {
    let proof =
        ["prove", "--host", "world/coldproof.toml", "--provider", "docker", "--only", "blank.inventory", "--out"];
    let mut command = engine.coldproof(&proof);
    command.arg(format!("bundle-{run}")).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn leases(engine: &Engine) -> Result<usize> {
    match fs::read_dir(engine.path("subject/ledger")) {
        Ok(entries) => Ok(entries.count()),
        // A run that was killed early has not made it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// This computer's memory in bytes.
fn memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).context("MemTotal")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}
