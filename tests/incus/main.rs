//! The same verdicts on an Incus server: the good host, and faults of each layer, in containers of a real incusd that is
//! reached through a SOCKS5 proxy with a certificate restricted to one project.
//!
//! It needs root and Debian's `incus-base`, `incus-client`, `btrfs-progs`, `lxcfs` and `microsocks`.

mod server;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

use server::Server;

/// Some faults of each layer. All of them are proven on QEMU.
const FAULTS: &[&str] = &["gitlink-old", "key-on-blank-machine", "secret-mode", "stale-leaf-served", "unit-calls-out"];

fn main() -> ExitCode {
    coldproof_testbed::dispatch();
    let trials: [(&str, fn(&Server, &Path) -> Result<()>); 2] =
        [("verdicts_are_the_same_on_a_server::@incus", verdicts), ("a_killed_run_leaves_nothing::@incus", killed_run)];
    let trials = trials.map(|(name, body)| Trial::test(name, move || run(body)));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn run(body: fn(&Server, &Path) -> Result<()>) -> Result<(), Failed> {
    let all = || -> Result<()> {
        let home = tempfile::Builder::new().prefix("coldproof-incus-").tempdir()?;
        let server = Server::start(&home.path().join("server"))?;
        // Somebody else's, which is still there when all is done.
        server.incus(&["create", "--empty", "theirs", "--storage", "pool", "--config", "limits.memory=16MiB"])?;
        body(&server, home.path())?;
        ensure!(server.instances()? == "theirs", "these are left: {}", server.instances()?);
        server.end()
    };
    all().map_err(|error| Failed::from(format!("{error:#}")))
}

fn verdicts(server: &Server, home: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    for fault in [None].into_iter().chain(FAULTS.iter().copied().map(Some)) {
        let name = fault.unwrap_or("good");
        let found = prove(server, &home.join(name), fault)?;
        eprintln!("{name:<24} {}", found.iter().cloned().collect::<Vec<_>>().join(", "));
        let expected = expected(fault)?;
        if found != expected {
            wrong.push(format!("{name}: expected {expected:?} to fail, and {found:?} did"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// A run that is killed while its machine is up has no time to clean up: its reaper does.
fn killed_run(server: &Server, home: &Path) -> Result<()> {
    let world = home.join("killed");
    let mut prove = prepare(server, &world, None)?;
    let mut events = server.events()?;
    let mut run = prove.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    events.wait_for("instance-started")?;
    run.kill()?;
    run.wait()?;
    events.wait_for("instance-deleted")
}

/// The criteria that a fault fails, as it is listed.
fn expected(fault: Option<&str>) -> Result<BTreeSet<String>> {
    let Some(name) = fault else { return Ok(BTreeSet::new()) };
    let listed = coldproof_reference::faults().iter().find(|fault| fault.name == name).context("a listed fault")?;
    Ok(listed.criterion.iter().map(|&criterion| criterion.to_owned()).collect())
}

/// Writes a fresh world with this fault, and the command that proves it on the server.
fn prepare(server: &Server, world: &Path, fault: Option<&str>) -> Result<Command> {
    let mut write = coldproof();
    write.arg("reference").arg(world).args(fault.iter().flat_map(|name| ["--fault", name]));
    let written = write.output()?;
    ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let file: PathBuf = world.join("coldproof.toml");
    let definition = fs::read_to_string(&file)? + &server.table();
    fs::write(&file, definition)?;
    let mut prove = coldproof();
    prove.args(["prove", "--provider", "incus", "--json", "--host"]).arg(file).arg("--out").arg(world.join("bundle"));
    Ok(prove)
}

/// The criteria that fail; the good host must be proven.
fn prove(server: &Server, world: &Path, fault: Option<&str>) -> Result<BTreeSet<String>> {
    let proof = prepare(server, world, fault)?.output()?;
    let said = String::from_utf8_lossy(&proof.stderr);
    let report: Value = serde_json::from_slice(&proof.stdout).with_context(|| said.clone().into_owned())?;
    let criteria = report["criteria"].as_array().context("criteria")?;
    let failing = criteria.iter().filter(|criterion| criterion["outcome"] == "fail");
    let failing = failing.filter_map(|criterion| criterion["name"].as_str().map(str::to_owned)).collect();
    ensure!(fault.is_some() || proof.status.success(), "the good host is not proven:\n{said}");
    Ok(failing)
}

fn coldproof() -> Command {
    Command::new(env!("CARGO_BIN_EXE_coldproof"))
}
