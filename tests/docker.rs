//! Each seeded fault against every criterion, in containers.
//!
//! It uses the engine at `DOCKER_HOST` or the usual socket, and starts one of its own where there is none.

use std::{
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

/// How long an engine may take to start.
const START: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    coldproof_testbed::dispatch();
    let test = || selftest().map_err(|error| Failed::from(format!("{error:#}")));
    libtest_mimic::run(&Arguments::from_args(), vec![Trial::test("selftest::@docker", test)]).exit_code()
}

/// The clean host passes, and each seeded fault is caught by exactly the criteria that it lists.
fn selftest() -> Result<()> {
    let home = tempfile::Builder::new().prefix("coldproof-docker-").tempdir()?;
    let engine = Engine::of_the_host().map_or_else(|| Engine::own(home.path()), Ok)?;
    let state = home.path().join("selftest");
    let coldproof = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coldproof"));
        command.args(arguments).env("DOCKER_HOST", &engine.host).env("COLDPROOF_STATE", &state).status()
    };
    let status = coldproof(&["selftest", "--provider", "docker"])?;
    ensure!(status.success(), "the self-test ended with {status}");
    let status = coldproof(&["machines", "reap"])?;
    ensure!(status.success(), "what the self-test left could not be removed: {status}");
    Ok(())
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
}

fn program(name: &str) -> io::Result<PathBuf> {
    let directories = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    let found = directories.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        io::Error::other(format!("{name} is not installed; on Debian, `apt-get install docker.io` has it"))
    })
}
