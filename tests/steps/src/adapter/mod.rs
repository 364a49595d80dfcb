//! Makes every scenario of a features directory a test of its own, as cargo-nextest understands tests.
//!
//! Cucumber's own runner knows nothing of `--list` and runs all scenarios in one process. Here each expanded scenario is
//! one libtest trial, so that nextest gives each a process, a timeout, a group and a line in its report.
//! Whatever would make a scenario vanish or pass unseen is an error: a duplicate name, an outline without examples,
//! an unknown name, an empty selection, an undefined or skipped step.

mod discover;
mod run;
mod trace;

use std::{fmt::Debug, path::Path, process::ExitCode};

use cucumber::{World, codegen::WorldInventory};
use libtest_mimic::{Arguments, Trial};

pub use discover::{Case, DiscoverError, discover};

/// Exit code for a test binary that cannot even say what its tests are.
const UNUSABLE: u8 = 2;

/// The `main` of a test binary with `harness = false` whose tests are the scenarios under `features`.
///
/// Takes the arguments that nextest (or `cargo test`) gives. While listing, nothing but the list reaches standard output.
#[must_use]
pub fn main<W: World + Debug + WorldInventory>(features: &Path) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // In the main thread: PR_SET_PDEATHSIG, which machines rely on, is about the thread that spawned them.
    arguments.test_threads = Some(1);
    match trials::<W>(features, &arguments) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(problem) => {
            eprintln!("error: {problem}");
            UNUSABLE.into()
        }
    }
}

fn trials<W: World + Debug + WorldInventory>(features: &Path, arguments: &Arguments) -> Result<Vec<Trial>, String> {
    let cases = discover(features).map_err(|e| e.to_string())?;
    if !arguments.list {
        ensure_selected(&cases, arguments)?;
    }
    Ok(cases.into_iter().map(|case| Trial::test(case.name.clone(), move || Ok(run::to_the_end::<W>(case)?))).collect())
}

/// libtest passes with zero tests when nothing matches; here that is an error.
fn ensure_selected(cases: &[Case], arguments: &Arguments) -> Result<(), String> {
    let matches = |name: &str, pattern: &str| match arguments.exact {
        true => name == pattern,
        false => name.contains(pattern),
    };
    let selected = cases.iter().any(|case| {
        arguments.filter.as_ref().is_none_or(|f| matches(&case.name, f))
            && !arguments.skip.iter().any(|s| matches(&case.name, s))
    });
    match (selected, &arguments.filter) {
        (true, _) => Ok(()),
        (false, Some(name)) => Err(format!("no scenario is named {name:?}; list them with `cargo nextest list`")),
        (false, None) => Err("every scenario is skipped; nothing would be tested".to_owned()),
    }
}
