//! What takes too long for every change: each seeded fault against every criterion on QEMU, and a cold proof.

use std::process::{Command, ExitCode, Stdio};

use anyhow::ensure;
use coldproof_selftest::parity;
use coldproof_steps::nightly;
use libtest_mimic::{Arguments, Failed, Trial};

const COLDPROOF: &str = env!("CARGO_BIN_EXE_coldproof");
/// What was recorded.
const MATRIX: &str = include_str!("../docs/faults.md");

fn main() -> ExitCode {
    coldproof_steps::dispatch();
    coldproof_steps::use_command(COLDPROOF);
    // The tags are those of scenarios, so that the same filters select them.
    let trials = vec![
        Trial::test("cold_proof::@nightly::@qemu", || failed(cold_proof())),
        Trial::test("selftest::@nightly::@qemu", || failed(selftest())),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn failed(result: anyhow::Result<()>) -> Result<(), Failed> {
    result.map_err(|error| format!("{error:#}").into())
}

fn cold_proof() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(nightly::cold_proof())
}

fn selftest() -> anyhow::Result<()> {
    let mut selftest = Command::new(COLDPROOF);
    let output = selftest.args(["selftest", "--provider", "qemu", "--json"]).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the self-test ended with {}", output.status);
    let parity = parity(MATRIX, &String::from_utf8(output.stdout)?)?;
    eprintln!("{parity}");
    ensure!(parity.differences().next().is_none(), "{parity}");
    Ok(())
}
