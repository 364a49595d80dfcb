//! Processes that a command has started, and what is left of them.

use std::{fs, io, os::fd::OwnedFd, path::Path};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// How long the processes of a killed command may take to end: a reaper takes milliseconds, a loaded machine more.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Stops the process, and names every process [`below`] it.
pub(crate) fn stop_and_list(pid: u32) -> Result<Vec<(u32, OwnedFd)>> {
    kill_process(raw(pid)?, Signal::STOP)?;
    below(pid)
}

fn raw(pid: u32) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")
}

/// Every process below `pid`, children's children included, each with its id.
pub(crate) fn below(pid: u32) -> Result<Vec<(u32, OwnedFd)>> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in children(parent)? {
            // One that has ended meanwhile needs no waiting for.
            if let Ok(descriptor) = pidfd_open(raw(child)?, PidfdFlags::empty()) {
                found.push((child, descriptor));
                parents.push(child);
            }
        }
    }
    Ok(found)
}

fn children(parent: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    let tasks = match fs::read_dir(format!("/proc/{parent}/task")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(children),
        tasks => tasks?,
    };
    for task in tasks {
        // A thread that has ended meanwhile has no children any more.
        let list = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
    }
    Ok(children)
}

/// Waits until every one of them has ended.
pub(crate) async fn ended(processes: Vec<(u32, OwnedFd)>) -> Result<()> {
    tokio::task::spawn_blocking(move || processes.iter().try_for_each(|(id, process)| end_of(*id, process))).await?
}

fn end_of(id: u32, process: &OwnedFd) -> Result<()> {
    let mut watched = [PollFd::new(process, PollFlags::IN)];
    let events = poll(&mut watched, Some(&PATIENCE))?;
    ensure!(events > 0, "process {id} outlives its command: {}", command_line(id));
    Ok(())
}

/// Command lines of the processes that have this path among their arguments or in their environment.
pub(crate) fn naming(path: &Path) -> Result<Vec<String>> {
    let path = path.to_string_lossy();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        let arguments = command_line(id);
        if arguments.contains(&*path) || String::from_utf8_lossy(&environment).contains(&*path) {
            found.push(format!("{id}: {arguments}"));
        }
    }
    Ok(found)
}

fn command_line(id: u32) -> String {
    let arguments = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&arguments).replace('\0', " ")
}
