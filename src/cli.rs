//! The command line.

use std::{io::IsTerminal as _, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{doctor, image, machines, progress::Log, prove, race, reference, selftest};

/// Prove, cold, that a host rebuilds itself from git and one key.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  coldproof prove                                  prove the reference host on a throwaway VM
  coldproof prove --host coldproof.toml --cold     prove your own host, booting cold
  coldproof prove --only 'source.*' --json         only what the repositories tell, as JSON
  coldproof selftest --provider docker             seed every fault, and see that each is caught
  coldproof reference ./world --fault stale-leaf-served
                                                   write a world with a seeded fault, to see it caught

Exit codes: 0 pass · 1 fail · 2 wrong usage or host definition · 3 inconclusive"
)]
pub(crate) struct Cli {
    /// Say more (repeat for even more)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Rebuild a host on a blank machine and judge every criterion
    Prove(prove::Arguments),
    /// Find units that can get into each other's way, however lucky a switch was
    Race(race::Arguments),
    /// Write a fresh reference world: repositories, keys, certificates and coldproof.toml
    Reference(reference::Arguments),
    /// Prove that every seeded fault is caught by exactly the criteria that it lists
    Selftest(selftest::Arguments),
    /// Build, check or rebuild the blank image
    Image(image::Arguments),
    /// Say what this machine can do, and install what is missing
    Doctor(doctor::Arguments),
    /// List, enter or remove machines
    Machines(machines::Arguments),
}

impl Cli {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Prove(arguments) => arguments.run(),
            Command::Race(arguments) => arguments.run(),
            Command::Reference(arguments) => arguments.run(),
            Command::Selftest(arguments) => arguments.run(),
            Command::Image(arguments) => arguments.run(),
            Command::Doctor(arguments) => arguments.run(),
            Command::Machines(arguments) => arguments.run(),
        }
    }
}

/// Diagnostics go to stderr; `RUST_LOG` overrules `-v`.
pub(crate) fn log_to_stderr(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "coldproof=info,info",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Log)
        .with_ansi(std::io::stderr().is_terminal())
        // It would say that it cannot write where it cannot write, and panic at that.
        .log_internal_errors(false)
        .init();
}
