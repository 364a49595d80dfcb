//! Running a program that takes part in a build.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead as _, BufReader},
    process::{Command, Stdio},
};

use super::ImageError;
use crate::{mark::Mark, program};

/// How many of its last lines a failed program is quoted with.
const QUOTED_LINES: usize = 20;

/// Runs the steps of one build, under its lock.
pub(super) struct Steps<'a> {
    /// The store's lock. Every program gets it as its (empty) standard input: should this process be
    /// killed, the lock is held until the orphan ends too, so that nobody removes a tree that is
    /// still written into.
    pub(super) lock: &'a File,
    /// Whose processes the programs are, so that they end with this one.
    pub(super) mark: Option<&'a Mark>,
    /// Where progress goes.
    pub(super) progress: &'a dyn Fn(&str),
}

impl Steps<'_> {
    /// Tells the caller what happens next.
    pub(super) fn say(&self, line: &str) {
        (self.progress)(line);
    }

    /// Runs a program to its end. Lines of its stderr that `relay` maps to something are progress.
    ///
    /// # Errors
    /// When it cannot be started, or exits with anything but 0.
    pub(super) fn run(
        &self,
        step: &'static str,
        command: &mut Command,
        relay: impl Fn(&str) -> Option<&str>,
    ) -> Result<(), ImageError> {
        let program = command.get_program().to_owned();
        let failed = |source: io::Error| ImageError::Io { path: program.clone().into(), source };
        // One pipe for both streams keeps their order, and needs no second thread to be drained.
        let (reader, writer) = io::pipe().map_err(failed)?;
        let lock = self.lock.try_clone().map_err(failed)?;
        command.stdin(Stdio::from(lock)).stdout(writer.try_clone().map_err(failed)?).stderr(writer);
        command.env("LC_ALL", "C.UTF-8").env("PATH", program::search_path());
        if let Some(mark) = self.mark {
            mark.put_on(command);
        }
        let mut child = command.spawn().map_err(failed)?;
        // The command keeps the pipe's writing end, and the reader below would wait for it for ever.
        command.stdout(Stdio::null()).stderr(Stdio::null());

        let mut tail = VecDeque::with_capacity(QUOTED_LINES);
        for line in BufReader::new(reader).split(b'\n') {
            let line = String::from_utf8_lossy(&line.map_err(failed)?).trim_end().to_owned();
            if let Some(message) = relay(&line) {
                self.say(message);
            }
            if tail.len() == QUOTED_LINES {
                tail.pop_front();
            }
            tail.push_back(line);
        }
        let status = child.wait().map_err(failed)?;
        if status.success() {
            return Ok(());
        }
        Err(ImageError::Step { step, status, output: Vec::from(tail).join("\n") })
    }
}

/// A command by its full path, which is searched for where [`Steps::run`] lets it search.
///
/// As root it gets namespaces of its own. What it mounts vanishes with it, so that nobody removes a tree with a live
/// mount in it; so does whatever it starts, also what clears its environment and with it the lease's mark.
pub(super) fn command(name: &str) -> Command {
    let path = |name: &str| program::find(name).unwrap_or_else(|| name.into());
    if !rustix::process::geteuid().is_root() {
        return Command::new(path(name));
    }
    let mut command = Command::new(path("unshare"));
    command.args(["--mount-proc", "--propagation=private", "--pid", "--fork", "--kill-child", "--"]).arg(path(name));
    command
}

/// For a step whose output is nobody's business unless it fails.
pub(super) fn quiet(_: &str) -> Option<&str> {
    None
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn shell(script: &str) -> (Result<(), ImageError>, Vec<String>) {
        let lock = tempfile::tempfile().unwrap();
        let said = RefCell::new(Vec::new());
        let progress = |line: &str| said.borrow_mut().push(line.to_owned());
        let steps = Steps { lock: &lock, mark: None, progress: &progress };
        let result = steps.run("the shell", Command::new("sh").args(["-c", script]), |line| line.strip_prefix("I: "));
        (result, said.into_inner())
    }

    #[test]
    fn relays_progress_of_both_streams() {
        let (result, said) = shell("echo I: one; echo noise; echo I: two >&2");
        assert!(result.is_ok());
        assert_eq!(said, ["one", "two"]);
    }

    #[test]
    fn quotes_the_end_of_a_failure() {
        let (result, _) = shell("seq 100; echo 'E: no route' >&2; exit 3");
        let Err(ImageError::Step { step: "the shell", status, output }) = result else {
            panic!("a failed step: {result:?}")
        };
        assert_eq!(status.code(), Some(3));
        assert!(output.starts_with("82\n") && output.ends_with("100\nE: no route"), "{output}");
    }

    #[test]
    fn names_a_program_that_is_not_there() {
        let lock = tempfile::tempfile().unwrap();
        let steps = Steps { lock: &lock, mark: None, progress: &|_| {} };
        let error = steps.run("nothing", &mut Command::new("no-such-program"), quiet).unwrap_err();
        assert!(error.to_string().starts_with("no-such-program: "), "{error}");
    }
}
