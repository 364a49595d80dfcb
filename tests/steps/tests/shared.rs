//! What tests share, seen from outside: a runner that starts two tests and is killed.
//!
//! This binary plays all parts, told apart by `PART`: without it, it is the test and looks on.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use coldproof_steps::shared;
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};

fn main() -> ExitCode {
    shared::dispatch();
    let part = env::var("PART").unwrap_or_default();
    let played = match part.as_str() {
        "runner" => runner(),
        "member" => member(),
        _ => {
            let test = || killed_runner().map_err(|e| Failed::from(format!("{e:#}")));
            let trials = vec![Trial::test("nothing_shared_survives_a_killed_runner", test)];
            return libtest_mimic::run(&Arguments::from_args(), trials).exit_code();
        }
    };
    played.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn play(part: &str) -> Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    command.env("PART", part).stdin(Stdio::piped());
    if part == "runner" {
        command.env("NEXTEST_RUN_ID", format!("selftest-{}", std::process::id())).stdout(Stdio::piped());
    }
    Ok(command.spawn()?)
}

/// Starts two tests, as nextest would, and never ends by itself.
fn runner() -> Result<()> {
    let _members = [play("member")?, play("member")?];
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// A test: says where the shared directory is, and ends with its runner.
#[expect(clippy::print_stdout, reason = "the directory is this part's answer")]
fn member() -> Result<()> {
    println!("{}", shared::directory()?.display());
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn killed_runner() -> Result<()> {
    // The janitor becomes a child of this process when the runner is gone, so that its end can be waited for.
    set_child_subreaper(Some(getpid()))?;
    let mut runner = play("runner")?;
    let mut lines = BufReader::new(runner.stdout.take().context("piped")?).lines();
    let (first, second) = (lines.next().context("no test")??, lines.next().context("one test")??);
    ensure!(first == second, "two tests of one run share {first} and {second}");
    let directory = Path::new(&first);
    ensure!(fs::metadata(directory)?.permissions().mode() & 0o777 == 0o700, "{first} is not private");
    fs::write(directory.join("key"), "secret")?;

    runner.kill()?;
    while wait(WaitOptions::empty()).is_ok() {}
    ensure!(!directory.exists(), "{first} was left");
    ensure!(!directory.with_extension("over").exists(), "{first} was renamed and left");
    Ok(())
}
