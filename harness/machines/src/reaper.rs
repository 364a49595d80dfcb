//! The reaper: a process that outlives its owner and undoes what the owner could not.
//!
//! Every lease has one. Its standard input is a pipe whose only writer is the owner, so the
//! kernel tells it when the owner is gone, whatever the owner died of. What is to be undone it
//! reads from the ledger, which is written before anything is acquired.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    time::Instant,
};

use crate::{
    helper,
    ledger::{Ledger, LedgerEntry},
    receipt::Destroyed,
    undo::undo,
};

const READY: &str = "coldproof reaper ready";

/// The owner's end of a reaper.
#[derive(Debug)]
pub(crate) struct Reaper {
    process: Child,
    /// Held open for as long as the owner lives. The standard library opens it close-on-exec,
    /// so no other child inherits it.
    lifeline: Option<ChildStdin>,
}

impl Reaper {
    /// Starts the reaper of a lease, and returns when it is out of reach of signals to this
    /// process's group and session.
    pub(crate) fn start(ledger: &Ledger, lease: &str) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(ledger.state().join("reaper.log"))?;
        let mut process = Command::new(helper::program())
            .arg(helper::REAPER)
            .arg(ledger.state())
            .arg(lease)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        let lifeline = process.stdin.take();
        let mut greeting = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut greeting)?;
        }
        let mut reaper = Self { process, lifeline };
        if greeting.trim_end() == READY {
            return Ok(reaper);
        }
        reaper.dismiss();
        Err(io::Error::other(
            "this program does not answer as a reaper; call coldproof_machines::helper::dispatch first in its main()",
        ))
    }

    /// Closes the lifeline and waits for the reaper's end. It undoes what is still in the ledger.
    pub(crate) fn dismiss(&mut self) {
        drop(self.lifeline.take());
        if let Err(error) = self.process.wait() {
            tracing::debug!(%error, "waiting for the reaper");
        }
    }
}

/// The reaper's own main: `STATE-DIRECTORY LEASE`.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(state), Some(lease)) = (args.next(), args.next().and_then(|lease| lease.into_string().ok())) else {
        return ExitCode::from(2);
    };
    match serve(&Ledger::at(state), &lease) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the reaper's log file.
            drop(writeln!(io::stderr(), "lease {lease}: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(ledger: &Ledger, lease: &str) -> io::Result<()> {
    // A session of its own: neither a terminal's hang-up nor a test runner's kill of the
    // owner's process group reaches it.
    rustix::process::setsid()?;
    writeln!(io::stdout(), "{READY}")?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    std::env::set_current_dir("/")?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    let entry = match ledger.read(lease)? {
        // Released, or the owner died while it wrote the entry and held nothing yet.
        None => return ledger.remove(lease),
        Some(entry) if entry.is_kept() => return Ok(()),
        Some(entry) => entry,
    };
    let start = Instant::now();
    let receipt = undo(ledger, &entry);
    writeln!(io::stderr(), "owner gone, undone in {:?}: {receipt}", start.elapsed())
}

/// Which leases to reap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReapScope {
    /// Those whose owner died.
    Orphaned,
    /// Those whose owner died, and those that were kept on purpose.
    OrphanedAndKept,
    /// The kept or orphaned machine, or lease, of this name.
    Named(String),
}

impl ReapScope {
    fn includes(&self, entry: &LedgerEntry) -> bool {
        match self {
            Self::Orphaned => entry.is_orphaned(),
            Self::OrphanedAndKept => entry.is_orphaned() || entry.is_kept(),
            Self::Named(name) => {
                (entry.machine == *name || entry.lease == *name) && (entry.is_orphaned() || entry.is_kept())
            }
        }
    }
}

/// Destroys the machines in `scope`. A machine whose owner lives is never touched.
///
/// # Errors
/// When the ledger cannot be read.
pub fn reap(ledger: &Ledger, scope: &ReapScope) -> io::Result<Vec<Destroyed>> {
    let entries = ledger.entries()?;
    Ok(entries.iter().filter(|entry| scope.includes(entry)).map(|entry| undo(ledger, entry)).collect())
}
