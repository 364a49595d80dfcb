//! The same verdicts on another provider: the good host, and some faults of each layer, in containers.
//!
//! It uses the engine at `DOCKER_HOST` or the usual socket, and starts one of its own where there is none.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io,
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use coldproof_machines::{lease::Lease, ledger::Ledger};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// How long an engine may take to start.
const START: Duration = Duration::from_secs(60);

/// Some faults of each layer. All of them are proven on QEMU.
const FAULTS: &[&str] = &[
    "gitlink-old",
    "key-on-blank-machine",
    "secret-mode",
    "store-file-changed",
    "stale-leaf-served",
    "reconcilers-unordered",
    "unit-calls-out",
    "intermediate-missing",
];

fn main() -> ExitCode {
    coldproof_testbed::dispatch();
    let test = || verdicts().map_err(|error| Failed::from(format!("{error:#}")));
    libtest_mimic::run(&Arguments::from_args(), vec![Trial::test("verdicts_are_the_same_in_containers::@docker", test)])
        .exit_code()
}

fn verdicts() -> Result<()> {
    let home = tempfile::Builder::new().prefix("coldproof-docker-").tempdir()?;
    let engine = Engine::of_the_host().map_or_else(|| Engine::own(home.path()), Ok)?;
    let mut wrong = Vec::new();
    for fault in [None].into_iter().chain(FAULTS.iter().copied().map(Some)) {
        let name = fault.unwrap_or("good");
        let world = home.path().join(name);
        let expected = expected(fault)?;
        let found = engine.prove(&world, fault)?;
        eprintln!("{name:<24} {}", found.iter().cloned().collect::<Vec<_>>().join(", "));
        if found != expected {
            wrong.push(format!("{name}: expected {expected:?} to fail, and {found:?} did"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The criteria that a fault fails, as it is listed.
fn expected(fault: Option<&str>) -> Result<BTreeSet<String>> {
    let Some(name) = fault else { return Ok(BTreeSet::new()) };
    let listed = coldproof_reference::faults().iter().find(|fault| fault.name == name).context("a listed fault")?;
    Ok(listed.criterion.iter().map(|&criterion| criterion.to_owned()).collect())
}

/// A Docker engine; one of our own ends with its lease.
struct Engine {
    host: String,
    _own: Option<(Child, Lease)>,
}

impl Engine {
    fn of_the_host() -> Option<Self> {
        let host = env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let socket = host.strip_prefix("unix://")?;
        UnixStream::connect(socket).ok()?;
        Some(Self { host, _own: None })
    }

    /// Without a bridge and without rules for packets, so that it touches nothing of the host's network.
    fn own(home: &Path) -> Result<Self> {
        let lease = Lease::acquire(&Ledger::at(home.join("state")), "docker", "dockerd")?;
        let directory = lease.dir().to_owned();
        let socket = directory.join("docker.sock");
        let host = format!("unix://{}", socket.display());
        let log = File::create(directory.join("log"))?;
        let mut dockerd = lease.command(&program("dockerd")?);
        dockerd.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        dockerd.arg("--host").arg(&host).arg("--data-root").arg(directory.join("data"));
        dockerd.arg("--exec-root").arg(directory.join("exec")).arg("--pidfile").arg(directory.join("pid"));
        dockerd.args([
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--ip-masq=false",
        ]);
        // It says when it is ready, in the way of sd_notify(3).
        let notify = directory.join("notify");
        let ready = UnixDatagram::bind(&notify)?;
        ready.set_read_timeout(Some(START))?;
        dockerd.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = dockerd.spawn()?;
        let mut said = [0; 256];
        let length =
            ready.recv(&mut said).with_context(|| fs::read_to_string(directory.join("log")).unwrap_or_default())?;
        ensure!(said[..length].starts_with(b"READY=1"), "dockerd says {}", String::from_utf8_lossy(&said[..length]));
        Ok(Self { host, _own: Some((process, lease)) })
    }

    /// The criteria that fail on a fresh world with this fault; everything else must have been decided.
    fn prove(&self, world: &Path, fault: Option<&str>) -> Result<BTreeSet<String>> {
        let coldproof = || Command::new(env!("CARGO_BIN_EXE_coldproof"));
        let mut write = coldproof();
        write.arg("reference").arg(world).args(fault.iter().flat_map(|name| ["--fault", name]));
        let written = write.output()?;
        ensure!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
        let mut prove = coldproof();
        prove.args(["prove", "--provider", "docker", "--json", "--host"]).arg(world.join("coldproof.toml"));
        prove.arg("--out").arg(world.join("bundle")).env("DOCKER_HOST", &self.host);
        let proof = prove.output()?;
        let said = String::from_utf8_lossy(&proof.stderr);
        let report: Value = serde_json::from_slice(&proof.stdout).with_context(|| said.clone().into_owned())?;
        let criteria = report["criteria"].as_array().context("criteria")?;
        let failing = criteria.iter().filter(|criterion| criterion["outcome"] == "fail");
        let failing: BTreeSet<String> =
            failing.filter_map(|criterion| criterion["name"].as_str().map(str::to_owned)).collect();
        ensure!(fault.is_some() || proof.status.success(), "the good host is not proven:\n{said}");
        Ok(failing)
    }
}

fn program(name: &str) -> io::Result<PathBuf> {
    let directories = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    let found = directories.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        io::Error::other(format!("{name} is not installed; on Debian, `apt-get install docker.io` has it"))
    })
}
