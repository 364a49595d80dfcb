//! The Docker engine of the tests.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use coldproof_machines::{lease::Lease, ledger::Ledger};
use serde_json::Value;

/// How long an engine may take to start.
const START: Duration = Duration::from_secs(60);

/// An engine, and a directory for a test; one of our own ends with its lease.
pub(crate) struct Engine {
    /// Both go before the directory that they are in.
    _own: Option<(Child, Lease)>,
    home: tempfile::TempDir,
    host: String,
}

impl Engine {
    /// That of this computer, or one of our own.
    pub(crate) fn start() -> Result<Self> {
        let home = tempfile::Builder::new().prefix("coldproof-docker-").tempdir()?;
        let (own, host) = match of_the_host() {
            Some(host) => (None, host),
            None => own(home.path()).map(|(process, lease, host)| (Some((process, lease)), host))?,
        };
        Ok(Self { _own: own, home, host })
    }

    /// A path in the test's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The command, with a ledger of its own and this engine.
    pub(crate) fn coldproof(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coldproof"));
        command.args(arguments).current_dir(self.home.path());
        self.provide(&mut command);
        command
    }

    /// Names this engine, and a ledger of its own, to a command.
    pub(crate) fn provide(&self, command: &mut Command) {
        command.env("DOCKER_HOST", &self.host).env("COLDPROOF_STATE", self.path("subject"));
    }

    /// The ids of all its containers, running or not.
    pub(crate) fn containers(&self) -> Result<BTreeSet<String>> {
        let listed = self.get("/containers/json?all=true")?;
        let ids = listed.as_array().context("a list of containers")?.iter();
        Ok(ids.filter_map(|container| container["Id"].as_str().map(str::to_owned)).collect())
    }

    /// The most memory that a container may take, in bytes; 0 where there is no limit.
    pub(crate) fn memory_limit(&self, container: &str) -> Result<u64> {
        self.get(&format!("/containers/{container}/json"))?["HostConfig"]["Memory"].as_u64().context("a number")
    }

    /// What the engine's API answers. Of HTTP 1.0, so that the end of the connection is the end of the answer.
    fn get(&self, path: &str) -> Result<Value> {
        let socket = self.host.strip_prefix("unix://").context("a socket of this computer")?;
        let mut stream = UnixStream::connect(socket)?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("a header")?;
        ensure!(head.contains(" 200 OK"), "GET {path}: {answer}");
        Ok(serde_json::from_str(body)?)
    }
}

fn of_the_host() -> Option<String> {
    let host = env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
    let socket = host.strip_prefix("unix://")?;
    UnixStream::connect(socket).ok()?;
    Some(host)
}

/// Without a bridge and without rules for packets, so that it touches nothing of the host's network.
fn own(home: &Path) -> Result<(Child, Lease, String)> {
    let lease = Lease::acquire(&Ledger::at(home.join("state")), "docker", "dockerd")?;
    let directory = lease.dir().to_owned();
    let socket = directory.join("docker.sock");
    let host = format!("unix://{}", socket.display());
    let log = File::create(directory.join("log"))?;
    let mut dockerd = lease.command(&program("dockerd")?);
    dockerd.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    dockerd.arg("--host").arg(&host).arg("--data-root").arg(directory.join("data"));
    dockerd.arg("--exec-root").arg(directory.join("exec")).arg("--pidfile").arg(directory.join("pid"));
    dockerd.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]);
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
    Ok((process, lease, host))
}

fn program(name: &str) -> io::Result<PathBuf> {
    let directories = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];
    let found = directories.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        io::Error::other(format!("{name} is not installed; on Debian, `apt-get install docker.io` has it"))
    })
}
