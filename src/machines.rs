//! `coldproof machines`: the machines that are there, and the ones that were left.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use coldproof_machines::{
    deadline::Deadline,
    ledger::{Ledger, LedgerEntry},
    paths::Paths,
    qemu::attach,
    reaper::{self, ReapScope},
    receipt::Destroyed,
};
use coldproof_testbed::{host::HostDefinition, providers};

use crate::{
    failure::{INCONCLUSIVE, Usage},
    output::{result, say},
    shell,
};

/// How long a kept machine may take to answer.
const ATTACH_LIMIT: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coldproof machines list
  coldproof machines shell cc-ci-subject                   a root shell in a machine kept with `prove --keep`
  coldproof machines shell cc-ci-subject systemctl status  one command, with its output and exit status
  coldproof machines reap                                  remove what died without cleaning up
  coldproof machines reap --kept                           and all that was kept on purpose")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the leases: machines, and private directories of runs
    #[command(after_help = "Examples:
  coldproof machines list
  coldproof machines list --json | jq -r '.[].lease'

States: in use (by a run that lives), kept (on purpose), orphaned (its owner died; `machines reap` removes it)")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run commands as root in a kept machine
    #[command(after_help = "Examples:
  coldproof machines shell cc-ci-subject                          a prompt; every line is a bash of its own
  coldproof machines shell cc-ci-subject journalctl -u nginx      one command
  echo 'cat /etc/os-release' | coldproof machines shell cc-ci-subject

The directory carries over from line to line; variables do not. `exit` or Ctrl-D leaves, Ctrl-C stops a command.
Exits with the last command's status. Guest services, such as git, ended with the run.")]
    Shell {
        /// The machine's name or its lease
        name: String,
        /// A command to run instead of lines from standard input
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Remove machines whose owner is gone
    #[command(after_help = "Examples:
  coldproof machines reap                  what died without cleaning up
  coldproof machines reap cc-ci-subject    this machine, also if it was kept
  coldproof machines reap --kept           everything without a living owner
  coldproof machines reap --host coldproof.toml
                                           and what expired on its Incus server, also if the ledger was lost

A machine in use is never touched, nor is an instance on a server that another certificate made.")]
    Reap {
        /// Only the machine or lease of this name, even if it was kept
        #[arg(conflicts_with = "kept")]
        name: Option<String>,
        /// Remove machines kept on purpose, too
        #[arg(long)]
        kept: bool,
        /// Remove instances of ours, too, that have expired on this host definition's Incus server
        #[arg(long, value_name = "FILE", conflicts_with = "name")]
        host: Option<PathBuf>,
    },
}

impl Arguments {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let ledger = Ledger::from(&Paths::from_env());
        match self.action {
            Action::List { json } => list(&ledger, json),
            Action::Shell { name, command } => tokio::runtime::Runtime::new()?.block_on(async {
                let guest = attach(&ledger, &name, Deadline::after(ATTACH_LIMIT)).await?;
                if command.is_empty() {
                    shell::converse(&guest, &name).await
                } else {
                    shell::run(&guest, command).await
                }
            }),
            Action::Reap { name, kept, host } => reap(&ledger, name, kept, host.as_deref()),
        }
    }
}

fn list(ledger: &Ledger, json: bool) -> Result<ExitCode> {
    let entries = ledger.entries().context("reading the ledger")?;
    if json {
        result(serde_json::to_string_pretty(&entries)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if entries.is_empty() {
        say("no machines");
        return Ok(ExitCode::SUCCESS);
    }
    let row = |state: &str, machine: &str, lease: &str, age: &str, dir: &str| {
        result(format_args!("{state:<9} {machine:<24} {lease:<12} {age:>8}  {dir}"))
    };
    row("STATE", "MACHINE", "LEASE", "AGE", "DIRECTORY")?;
    for entry in &entries {
        row(state(entry), &entry.machine, &entry.lease, &age(entry), &entry.dir().display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn state(entry: &LedgerEntry) -> &'static str {
    match entry {
        entry if entry.is_kept() => "kept",
        entry if entry.is_orphaned() => "orphaned",
        _ => "in use",
    }
}

/// What has expired on the host definition's server.
fn reap_server(host: &HostDefinition, ledger: &Ledger) -> Result<Vec<Destroyed>> {
    let Some(settings) = &host.machine.incus else {
        let text = format!("{} names no Incus server; add [machine.incus], or leave --host out", host.file.display());
        return Err(Usage(text).into());
    };
    Ok(tokio::runtime::Runtime::new()?.block_on(providers::reap_incus(settings, ledger))?)
}

/// Rounded to its largest unit: `3m`, `2h`.
fn age(entry: &LedgerEntry) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match now.saturating_sub(entry.created) {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86_400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn reap(ledger: &Ledger, name: Option<String>, kept: bool, host: Option<&Path>) -> Result<ExitCode> {
    let scope = match (&name, kept) {
        (Some(name), _) => ReapScope::Named(name.clone()),
        (None, true) => ReapScope::OrphanedAndKept,
        (None, false) => ReapScope::Orphaned,
    };
    let host = host.map(HostDefinition::load).transpose()?;
    let mut receipts = reaper::reap(ledger, &scope).context("reading the ledger")?;
    if let Some(host) = &host {
        receipts.extend(reap_server(host, ledger)?);
    }
    for receipt in &receipts {
        say(receipt);
    }
    if receipts.is_empty() {
        if let Some(name) = name {
            let text =
                format!("no kept or orphaned machine is called {name}; `coldproof machines list` shows what there is");
            return Err(Usage(text).into());
        }
        say("nothing to reap");
    }
    let clean = receipts.iter().all(Destroyed::is_clean);
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(INCONCLUSIVE) })
}
