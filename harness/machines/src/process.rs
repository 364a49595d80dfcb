//! Processes, told apart even when their ids are reused.

use std::{
    fs, io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

/// A process id, made unique by when the process started and in which boot of the controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The process id.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat`, see proc(5).
    pub start_time: u64,
    /// The controller's boot: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// This process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn current() -> io::Result<Self> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// The process that has this id now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let (_, start_time) = read_stat(pid)?;
        Ok(Self { pid, start_time, boot_id: boot_id()? })
    }

    /// Whether this very process still runs. A zombie does not.
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot_id)
            && read_stat(self.pid).is_ok_and(|(state, start)| start == self.start_time && !is_dead(state))
    }
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The state letter and the start time of a process.
fn read_stat(pid: i32) -> io::Result<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable /proc/PID/stat"))
}

/// The program's name may hold spaces and parentheses, so fields count from the last `)`.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(19)?.parse().ok()?))
}

fn is_dead(state: char) -> bool {
    matches!(state, 'Z' | 'X')
}

/// Kills every process that `members` returns, until it returns none, at the longest for `limit`.
/// Returns the ids of the processes that were killed.
///
/// A process that is forked while the others are killed is found in the next round.
pub(crate) fn kill_members(members: impl Fn() -> Vec<i32>, limit: Duration) -> Vec<i32> {
    let end = Instant::now() + limit;
    let mut killed = Vec::new();
    loop {
        let handles = open_members(&members);
        if handles.is_empty() || Instant::now() >= end {
            return killed;
        }
        for (pid, handle) in &handles {
            if pidfd_send_signal(handle, Signal::KILL).is_ok() {
                killed.push(*pid);
            }
        }
        for (_, handle) in &handles {
            wait_for_exit(handle, end);
        }
    }
}

/// Those of `pids` that run; a zombie does not.
pub(crate) fn alive(pids: impl IntoIterator<Item = i32>) -> Vec<i32> {
    pids.into_iter().filter(|pid| read_stat(*pid).is_ok_and(|(state, _)| !is_dead(state))).collect()
}

/// Opens handles first and asks again who is a member, so that an id that was reused in between
/// is not taken for a member.
fn open_members(members: impl Fn() -> Vec<i32>) -> Vec<(i32, OwnedFd)> {
    let opened: Vec<(i32, OwnedFd)> = alive(members())
        .into_iter()
        .filter_map(|pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
        .collect();
    if opened.is_empty() {
        return opened;
    }
    let still = members();
    opened.into_iter().filter(|(pid, _)| still.contains(pid)).collect()
}

/// A pidfd is readable once its process has ended, zombies included.
fn wait_for_exit(handle: &OwnedFd, end: Instant) {
    let left = end.saturating_duration_since(Instant::now());
    let Ok(timeout) = Timespec::try_from(left) else { return };
    if let Err(error) = poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&timeout)) {
        tracing::debug!(%error, "waiting for a process to end");
    }
}

/// The processes whose environment, as it was when they were started, holds `variable=value`.
pub(crate) fn with_environment(variable: &str, value: &str) -> Vec<i32> {
    let wanted = format!("{variable}={value}").into_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == wanted))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn stat_fields_are_counted_from_the_last_parenthesis() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20";
        assert_eq!(parse_stat(stat), Some(('S', 987_654)));
        assert_eq!(parse_stat("42 (short) S 1"), None);
    }

    #[test]
    fn this_process_is_alive_and_its_lookalikes_are_not() {
        let this = ProcessIdentity::current().unwrap();
        assert!(this.is_alive());
        assert!(!ProcessIdentity { start_time: this.start_time + 1, ..this.clone() }.is_alive());
        assert!(!ProcessIdentity { boot_id: "another".into(), ..this }.is_alive());
    }

    #[test]
    fn a_marked_process_and_its_child_are_found_and_killed() {
        let value = format!("test-{}", std::process::id());
        let mut child = Command::new("sh")
            .args(["-c", "setsid sleep 300 & echo started; wait"])
            .env("COLDPROOF_TEST_MARK", &value)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        let members = || with_environment("COLDPROOF_TEST_MARK", &value);
        // On its way to being `sleep`, the child shows no environment.
        let end = Instant::now() + Duration::from_secs(5);
        while members().len() != 2 {
            assert!(Instant::now() < end, "{:?}", members());
            std::thread::yield_now();
        }
        assert_eq!(kill_members(members, Duration::from_secs(5)).len(), 2);
        child.wait().unwrap();
        assert_eq!(members(), Vec::<i32>::new());
    }
}
