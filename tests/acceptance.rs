//! The specification in `features/`: every scenario is one test.

use std::{path::Path, process::ExitCode};

use coldproof_steps::{Proof, adapter};

fn main() -> ExitCode {
    coldproof_steps::dispatch();
    coldproof_steps::use_command(env!("CARGO_BIN_EXE_coldproof"));
    adapter::main::<Proof>(&Path::new(env!("CARGO_MANIFEST_DIR")).join("features"))
}
