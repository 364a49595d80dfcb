//! What takes too long for every change: each seeded fault against every criterion, and a cold proof.

use std::process::ExitCode;

use coldproof_steps::nightly;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    coldproof_steps::dispatch();
    coldproof_steps::use_command(env!("CARGO_BIN_EXE_coldproof"));
    let mut trials = vec![trial("cold_proof", nightly::cold_proof)];
    trials.extend(
        coldproof_reference::faults().iter().map(|fault| {
            trial(&format!("fault::{}", fault.name), move || nightly::fault_against_every_criterion(fault))
        }),
    );
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The tags are those of scenarios, so that the same filters select them.
fn trial<F>(name: &str, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = anyhow::Result<()>>,
{
    Trial::test(format!("{name}::@nightly::@qemu"), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(test()).map_err(|e| Failed::from(format!("{e:#}")))
    })
}
