//! Talking to the guest of a kept machine: one command, or lines with a prompt.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::Result;
use coldproof_machines::{
    deadline::Deadline,
    guest::{CommandOutput, Guest, GuestCommand},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Runs the second argument in the directory that the first one names, and tells after a NUL where it ended.
const LINE: &str = r#"trap 'status=$?; printf "\0%s" "$PWD"; exit $status' EXIT
cd -- "$1" || cd /
eval "$2""#;

/// The exit status of a command that Ctrl-C stopped, as shells give it.
const INTERRUPTED: u8 = 130;

/// Runs one command, and ends with its exit status.
pub(crate) async fn run(guest: &Guest, command: Vec<String>) -> Result<ExitCode> {
    let output = guest.run(&GuestCommand::new(command), Deadline::after(LIMIT)).await?;
    show(&output.stdout, &output.stderr)?;
    Ok(ExitCode::from(status(&output)))
}

/// Runs every line of standard input as a command of its own, and ends with the last one's exit status.
pub(crate) async fn converse(guest: &Guest, name: &str) -> Result<ExitCode> {
    let mut lines = lines();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut shell = Shell { guest, directory: "/root".to_owned(), status: 0 };
    loop {
        if io::stdin().is_terminal() {
            write!(io::stderr(), "root@{name}:{}# ", shell.directory)?;
        }
        let line = tokio::select! {
            line = lines.recv() => line.transpose()?,
            _ = interrupt.recv() => {
                writeln!(io::stderr())?;
                continue;
            }
        };
        let Some(line) = line else {
            if io::stdin().is_terminal() {
                writeln!(io::stderr())?;
            }
            break;
        };
        match Line::parse(&line) {
            Line::Nothing => {}
            Line::Exit(status) => {
                shell.status = status.unwrap_or(shell.status);
                break;
            }
            Line::Command(text) => shell.run(text, &mut interrupt).await?,
        }
    }
    Ok(ExitCode::from(shell.status))
}

/// The lines of standard input. Reading them takes a thread, as it cannot be given up half way.
fn lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || io::stdin().lines().try_for_each(|line| sender.blocking_send(line)));
    receiver
}

#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Exit(Option<u8>),
    Command(&'a str),
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => Self::Nothing,
            ["exit" | "logout"] => Self::Exit(None),
            ["exit", status] if status.parse::<u8>().is_ok() => Self::Exit(status.parse().ok()),
            _ => Self::Command(line),
        }
    }
}

struct Shell<'a> {
    guest: &'a Guest,
    directory: String,
    status: u8,
}

impl Shell<'_> {
    async fn run(&mut self, text: &str, interrupt: &mut Signal) -> Result<()> {
        let command = GuestCommand::new(["bash", "-c", LINE, "bash", self.directory.as_str(), text]);
        let output = tokio::select! {
            output = self.guest.run(&command, Deadline::after(LIMIT)) => output?,
            _ = interrupt.recv() => {
                writeln!(io::stderr())?;
                self.status = INTERRUPTED;
                return Ok(());
            }
        };
        self.status = status(&output);
        let (said, directory) = split(&output.stdout);
        if let Some(directory) = directory {
            self.directory = directory;
        }
        show(said, &output.stderr)
    }
}

/// What a line printed, and where it ended; it does not say where if it was killed.
fn split(stdout: &[u8]) -> (&[u8], Option<String>) {
    match stdout.iter().rposition(|byte| *byte == 0) {
        Some(end) => (&stdout[..end], Some(String::from_utf8_lossy(&stdout[end + 1..]).into_owned())),
        None => (stdout, None),
    }
}

fn show(stdout: &[u8], stderr: &[u8]) -> Result<()> {
    io::stderr().write_all(stderr)?;
    let mut out = io::stdout().lock();
    match out.write_all(stdout).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn status(output: &CommandOutput) -> u8 {
    u8::try_from(output.status).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", Line::Nothing)]
    #[case("  ", Line::Nothing)]
    #[case("exit", Line::Exit(None))]
    #[case(" exit 3 ", Line::Exit(Some(3)))]
    #[case("exit 300", Line::Command("exit 300"))]
    #[case("exit; true", Line::Command("exit; true"))]
    #[case("ls  -l", Line::Command("ls  -l"))]
    fn lines_are_told_apart(#[case] line: &str, #[case] expected: Line<'_>) {
        assert_eq!(Line::parse(line), expected);
    }

    #[rstest]
    #[case::follows("cd /usr; echo hello", "hello\n", Some("/usr"), 0)]
    #[case::exits("cd /etc; exit 3", "", Some("/etc"), 3)]
    #[case::nul_in_the_output(r"printf 'a\0b'", "a\0b", Some("/"), 0)]
    #[case::killed("echo before; kill -9 $$", "before\n", None, 137)]
    #[case::replaced("exec printf x", "x", None, 0)]
    fn the_directory_carries_over(
        #[case] line: &str,
        #[case] said: &str,
        #[case] directory: Option<&str>,
        #[case] status: i32,
    ) {
        // Of a lone command the outer bash would make itself, and then be what is killed.
        let wrapper = r#"bash -c "$1" bash / "$2"; exit $?"#;
        let output = Command::new("bash").args(["-c", wrapper, "bash", LINE, line]).output().unwrap();
        assert_eq!(split(&output.stdout), (said.as_bytes(), directory.map(str::to_owned)));
        assert_eq!(output.status.code(), Some(status));
    }
}
