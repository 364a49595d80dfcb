//! The `coldproof` command: one file a subcommand, no logic of its own.

use std::process::ExitCode;

use clap::Parser as _;

mod cli;
mod doctor;
mod failure;
mod image;
mod interrupt;
mod machines;
mod output;
mod progress;
mod prove;
mod race;
mod reference;
mod selftest;
mod shell;
mod toolbox;
mod world;

fn main() -> ExitCode {
    // The reaper, the relay and the KVM probe are this same program under hidden names; they must not start a runtime.
    coldproof_testbed::dispatch();
    let cli = cli::Cli::parse();
    cli::log_to_stderr(cli.verbose);
    failure::report(cli.run())
}
