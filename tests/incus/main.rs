//! The same verdicts on an Incus server: the good host, and faults of each layer, in containers of a real incusd that is
//! reached through a SOCKS5 proxy with a certificate restricted to one project.
//!
//! It needs root and Debian's `incus-base`, `incus-client`, `btrfs-progs`, `lxcfs` and `microsocks`.

mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use coldproof_selftest::parity;
use libtest_mimic::{Arguments, Failed, Trial};

use server::Server;

/// What was recorded on QEMU.
const MATRIX: &str = include_str!("../../docs/faults.md");
/// Some faults of each layer. All of them are proven on QEMU and Docker.
const FAULTS: &[&str] = &["gitlink-old", "key-on-blank-machine", "secret-mode", "stale-leaf-served", "unit-calls-out"];

fn main() -> ExitCode {
    coldproof_testbed::dispatch();
    let trials = vec![
        Trial::test("verdicts_are_the_same_on_a_server::@incus", || run(verdicts)),
        Trial::test("a_killed_run_leaves_nothing::@incus", || run(killed_run)),
        Trial::test("what_a_lost_ledger_left_is_reaped_once_it_has_expired::@incus", || run(lost_ledger)),
        Trial::test("the_doctor_asks_the_server::@incus", || run(doctor)),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
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

/// The good host passes, and each fault is caught by exactly the criteria that it lists. Every outcome is the one on QEMU.
fn verdicts(server: &Server, home: &Path) -> Result<()> {
    let definition = world(server, &home.join("good"))?;
    let mut selftest = coldproof();
    selftest.args(["selftest", "--provider", "incus", "--jobs", "2", "--json", "--host"]).arg(definition);
    selftest.args(FAULTS.iter().flat_map(|fault| ["--only", fault]));
    let output = selftest.env("COLDPROOF_STATE", home.join("state")).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the self-test ended with {}", output.status);
    let parity = parity(MATRIX, &String::from_utf8(output.stdout)?)?;
    eprintln!("{parity}");
    ensure!(parity.trials.len() == 1 + FAULTS.len() && parity.differences().next().is_none(), "{parity}");
    Ok(())
}

/// What the server says when it was asked for an instance, when it has one, and when that runs.
const MOMENTS: [&str; 3] = ["Creating instance", "instance-created", "instance-started"];

/// A run that is killed has no time to clean up: its reaper does, also after what the server was asked for and has not done.
fn killed_run(server: &Server, home: &Path) -> Result<()> {
    let definition = world(server, &home.join("killed"))?;
    for moment in MOMENTS {
        let mut prove = coldproof();
        prove.args(["prove", "--provider", "incus", "--host"]).arg(&definition);
        prove.arg("--out").arg(home.join(moment)).env("COLDPROOF_STATE", home.join("state"));
        let mut events = server.events()?;
        let mut run = prove.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        events.wait_for(moment)?;
        run.kill()?;
        run.wait()?;
        // Each operation and each instance is announced when it ends.
        while !server.is_idle()? || server.instances()? != "theirs" {
            events.next()?;
        }
        eprintln!("killed at `{moment}`: nothing is left");
    }
    Ok(())
}

/// The server tells by itself what is ours and whose time is over. Without its name, nobody asks it.
fn lost_ledger(server: &Server, home: &Path) -> Result<()> {
    let definition = world(server, &home.join("lost"))?;
    for (name, owner, expires) in
        [("over", server.client.as_str(), "1"), ("later", &server.client, "99999999999"), ("another", "ab12", "1")]
    {
        let mark = [("owner", owner), ("run", "lost"), ("nonce", name), ("expires", expires)];
        let mark: Vec<String> = mark.map(|(key, value)| format!("--config=user.coldproof.{key}={value}")).into();
        let mark: Vec<&str> = mark.iter().map(String::as_str).collect();
        server.incus(
            &[&["create", "--empty", name, "--storage=pool", "--config=limits.memory=16MiB"], &mark[..]].concat(),
        )?;
    }
    let reap = |host: &[&str]| {
        let mut reap = coldproof();
        reap.args(["machines", "reap"]).args(host).env("COLDPROOF_STATE", home.join("state")).output()
    };
    let output = reap(&[])?;
    ensure!(
        output.status.success() && server.instances()? == "another, later, over, theirs",
        "{}",
        server.instances()?
    );
    let output = reap(&["--host", &definition.display().to_string()])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(server.instances()? == "another, later, theirs", "these are left: {}", server.instances()?);
    server.incus(&["delete", "another", "later"]).map(drop)
}

/// It says whether the server answers and trusts us with the project.
fn doctor(server: &Server, home: &Path) -> Result<()> {
    let file = world(server, &home.join("asked"))?;
    let row = || -> Result<String> {
        let output =
            coldproof().args(["doctor", "--host"]).arg(&file).env("COLDPROOF_STATE", home.join("state")).output()?;
        let rows = String::from_utf8(output.stdout)?;
        let row = rows.lines().find(|row| row.contains("provider incus"));
        row.map(str::to_owned).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let trusted = row()?;
    ensure!(trusted.starts_with("ok ") && trusted.contains("https://127.0.0.1:"), "{trusted}");
    let definition = fs::read_to_string(&file)?;
    fs::write(&file, definition.replace("project = \"", "project = \"another-"))?;
    let refused = row()?;
    ensure!(refused.starts_with("absent ") && refused.contains("is not open to this certificate"), "{refused}");
    Ok(())
}

/// Writes a fresh world that is proven on the server, and returns its host definition.
fn world(server: &Server, dir: &Path) -> Result<PathBuf> {
    let written = coldproof().arg("reference").arg(dir).output()?;
    ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let file = dir.join("coldproof.toml");
    let definition = fs::read_to_string(&file)? + &server.table();
    fs::write(&file, definition)?;
    Ok(file)
}

fn coldproof() -> Command {
    Command::new(env!("CARGO_BIN_EXE_coldproof"))
}
