//! `coldproof machines`: the machines that are there, and the ones that were left.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use coldproof_machines::{
    deadline::Deadline,
    guest::GuestCommand,
    ledger::Ledger,
    paths::Paths,
    qemu::attach,
    reaper::{self, ReapScope},
    receipt::Destroyed,
};

use crate::failure::INCONCLUSIVE;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coldproof machines list
  coldproof machines shell cc-ci     a root shell in a machine kept with `prove --keep`
  coldproof machines reap            remove what died without cleaning up; `--kept` also what was kept")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List leased machines
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run commands as root in a kept machine, one a line
    Shell {
        /// The machine's name or its lease
        name: String,
    },
    /// Remove machines whose owner is gone
    Reap {
        /// Remove machines kept on purpose, too
        #[arg(long)]
        kept: bool,
    },
}

impl Arguments {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let ledger = Ledger::at(Paths::from_env().state);
        match self.action {
            Action::List { json } => list(&ledger, json),
            Action::Shell { name } => tokio::runtime::Runtime::new()?.block_on(shell(&ledger, &name)),
            Action::Reap { kept } => reap(&ledger, kept),
        }
    }
}

#[expect(clippy::print_stdout, reason = "the list is this command's output")]
fn list(ledger: &Ledger, json: bool) -> Result<ExitCode> {
    let entries = ledger.entries().context("reading the ledger")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&entries)?);
        return Ok(ExitCode::SUCCESS);
    }
    for entry in &entries {
        let state = match entry {
            entry if entry.is_kept() => "kept",
            entry if entry.is_orphaned() => "orphaned",
            _ => "in use",
        };
        println!("{:<10} {:<24} {:<18} {}", state, entry.machine, entry.lease, entry.dir().display());
    }
    if entries.is_empty() {
        eprintln!("no machines");
    }
    Ok(ExitCode::SUCCESS)
}

/// Every line is a command of its own; a terminal gets a prompt.
async fn shell(ledger: &Ledger, name: &str) -> Result<ExitCode> {
    let guest = attach(ledger, name, Deadline::after(Duration::from_secs(20))).await?;
    let mut status = 0;
    let mut prompt = io::stderr();
    let mut lines = io::stdin().lines();
    loop {
        if io::stdin().is_terminal() {
            write!(prompt, "{name}# ")?;
            prompt.flush()?;
        }
        let Some(line) = lines.next() else {
            return Ok(ExitCode::from(status));
        };
        let output = guest.run(&GuestCommand::script(line?), Deadline::after(Duration::from_secs(3600))).await?;
        io::stdout().write_all(&output.stdout)?;
        io::stderr().write_all(&output.stderr)?;
        status = u8::try_from(output.status).unwrap_or(u8::MAX);
    }
}

fn reap(ledger: &Ledger, kept: bool) -> Result<ExitCode> {
    let scope = if kept { ReapScope::OrphanedAndKept } else { ReapScope::Orphaned };
    let receipts = reaper::reap(ledger, &scope).context("reading the ledger")?;
    for receipt in &receipts {
        eprintln!("{receipt}");
    }
    if receipts.is_empty() {
        eprintln!("nothing to reap");
    }
    let clean = receipts.iter().all(Destroyed::is_clean);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(INCONCLUSIVE) })
}
