//! The command.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Ticks a second in `/proc/PID/stat`: USER_HZ, a constant of the kernel's interface.
const TICKS_PER_SECOND: u64 = 100;

/// The running command.
pub(super) struct Process {
    child: Child,
    /// Becomes readable when the command has ended.
    pub(super) ended: OwnedFd,
}

/// How the command ended.
pub(super) struct Ended {
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    /// User and system time of the command and of the children that it waited for.
    pub(super) cpu_us: u64,
}

impl Process {
    /// Starts the command with its standard output and error in one pipe, which is returned.
    pub(super) fn start(command: &[String]) -> io::Result<(Self, io::PipeReader)> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (reader, writer) = io::pipe()?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()?;
        let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok((Self { child, ended }, reader))
    }

    /// Takes the status of the command, which has ended.
    pub(super) fn finish(mut self) -> io::Result<Ended> {
        let status: ExitStatus = self.child.wait()?;
        let stat = fs::read_to_string("/proc/self/stat")?;
        Ok(Ended {
            exit_code: status.code(),
            signal: status.signal(),
            cpu_us: children_ticks(&stat) * 1_000_000 / TICKS_PER_SECOND,
        })
    }
}

/// `cutime` and `cstime` of proc_pid_stat(5): the command is the only child that was waited for so far.
fn children_ticks(stat: &str) -> u64 {
    // The program's name, in parentheses, may itself hold blanks and parentheses.
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let fields = fields.split_whitespace().skip(13).take(2);
    fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 200 0 0 11 12 130 17 20 0 1 0 100 1000 10 18446744073709551615";
        assert_eq!(children_ticks(stat), 147);
    }
}
