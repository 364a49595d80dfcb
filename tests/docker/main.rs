//! Each seeded fault against every criterion, in containers; what a whole proof says and seals; and a host that is only read.
//!
//! They use the engine at `DOCKER_HOST` or the usual socket, and start one of their own where there is none.

mod engine;
mod host_key;
mod junit;
mod leaks;
mod many;
mod original;

use std::process::{ExitCode, Stdio};

use anyhow::{Result, ensure};
use coldproof_selftest::parity;
use engine::Engine;
use libtest_mimic::{Arguments, Failed, Trial};

/// What was recorded on QEMU.
const MATRIX: &str = include_str!("../../docs/faults.md");
/// As many proofs of the clean host in a row pass.
const CLEAN_RUNS: usize = 20;

fn main() -> ExitCode {
    coldproof_steps::dispatch();
    if let Some(ended) = junit::scenario() {
        return ended;
    }
    let trials = vec![
        trial("selftest::@docker", selftest),
        trial("leaks::own_output::@docker", leaks::own_output),
        trial("junit::own_output::@docker", junit::own_output),
        trial("clean_runs::@nightly::@docker", clean_runs),
        trial("many::at_once::@nightly::@docker", many::at_once),
        trial("many::soak::@nightly::@docker", many::soak),
        trial("host_key::bootstrap::@docker", host_key::bootstrap),
        trial("original::read_over_ssh::@docker", original::read),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, test: fn(&Engine) -> Result<()>) -> Trial {
    let run = move || Engine::start().and_then(|engine| test(&engine));
    Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))))
}

/// The clean host passes, and each seeded fault is caught by exactly the criteria that it lists. Every outcome is the one
/// on QEMU.
fn selftest(engine: &Engine) -> Result<()> {
    let mut selftest = engine.coldproof(&["selftest", "--provider", "docker", "--json"]);
    let output = selftest.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the self-test ended with {}", output.status);
    let parity = parity(MATRIX, &String::from_utf8(output.stdout)?)?;
    eprintln!("{parity}");
    ensure!(parity.differences().next().is_none(), "{parity}");
    let status = engine.coldproof(&["machines", "reap"]).status()?;
    ensure!(status.success(), "what the self-test left could not be removed: {status}");
    Ok(())
}

/// A host that is as it should be never raises an alarm.
fn clean_runs(engine: &Engine) -> Result<()> {
    for run in 1..=CLEAN_RUNS {
        let output = engine.coldproof(&["prove", "--provider", "docker"]).output()?;
        let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
        ensure!(output.status.success(), "run {run}: {}{}", said(&output.stdout), said(&output.stderr));
    }
    Ok(())
}
