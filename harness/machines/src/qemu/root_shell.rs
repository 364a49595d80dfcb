//! What a command is wrapped into where no shell of ours runs in the guest.

use crate::{deadline::Deadline, guest::GuestCommand};

/// Every system has this shell at this path; where the other programs are, `PATH` says.
pub(super) const SHELL: &str = "/bin/sh";

/// A login of root without its files, then the command with a time limit of the guest's own: it ends there even if
/// nobody is left to end it. `timeout` makes a process group of the command, and kills all of it.
const SCRIPT: &str = "\
export HOME=/root USER=root LOGNAME=root SHELL=/bin/sh TERM=dumb PAGER=cat NO_COLOR=1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
umask 022; cd /root; ";

/// The arguments of [`SHELL`] that run `command` until `deadline`, with `rest` after it. `$@` is the command.
pub(super) fn arguments(command: &GuestCommand, deadline: Deadline, run: &str) -> Vec<String> {
    // To `timeout`, zero is no limit at all.
    let limit = deadline.remaining().as_secs_f64().max(0.001);
    let words = ["-c", &format!("{SCRIPT}{run}"), "sh", "timeout", "-sKILL", &format!("{limit:.3}")].map(str::to_owned);
    words.into_iter().chain(command.argv.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::status(&["sh", "-c", "exit 7"], 7)]
    #[case::missing(&["no-such-program"], 127)]
    #[case::words(&["test", "a b", "=", "a b"], 0)]
    fn a_command_keeps_its_words_and_status(#[case] argv: &[&str], #[case] expected: i32) {
        let command = GuestCommand::new(argv.iter().copied());
        let arguments = arguments(&command, Deadline::after(Duration::from_secs(20)), "\"$@\"; exit $?");
        assert_eq!(Command::new(SHELL).args(arguments).output().unwrap().status.code(), Some(expected));
    }

    #[test]
    fn a_command_is_killed_with_its_children() {
        let command = GuestCommand::script("sleep 60 & sleep 60; true");
        let arguments = arguments(&command, Deadline::after(Duration::from_millis(50)), "\"$@\"; exit $?");
        // The pipe closes when the last of them has ended.
        let output = Command::new(SHELL).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(137));
    }
}
