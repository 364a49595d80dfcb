//! An incusd of a test's own, its administrator, and a proxy before it.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use coldproof_evidence::Digest;
use rcgen::{CertificateParams, KeyPair};

/// Starts the server in namespaces of its own, which end with it.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/incus/tests/incus/daemon.sh");
/// How long the proxy may take to listen.
const START: Duration = Duration::from_secs(30);

/// A running server with a project that a restricted certificate may use. It ends when its standard input does.
pub(crate) struct Server {
    dir: PathBuf,
    project: String,
    port: u16,
    process: Child,
    commands: ChildStdin,
    proxy: Proxy,
    proxy_port: u16,
    fingerprint: String,
    /// SHA-256 of the certificate that is trusted with the project.
    pub(crate) client: String,
}

impl Server {
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        fs::create_dir(dir)?;
        let project = format!("verdicts-{}", std::process::id());
        let (port, proxy_port) = (free_port()?, free_port()?);
        // A session of its own: it has to outlive whoever kills the test, to clean up.
        let mut process = Command::new("setsid")
            .args(["--wait", SCRIPT])
            .args([dir.as_os_str(), project.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut commands = process.stdin.take().context("a pipe")?;
        commands.write_all(b"start\n")?;
        let mut answer = String::new();
        BufReader::new(process.stdout.take().context("a pipe")?).read_line(&mut answer)?;
        ensure!(answer == "done\n", "the server's script has ended");
        let proxy = Command::new("microsocks")
            .args(["-i", "127.0.0.1", "-p", &proxy_port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .map(Proxy)
            .context("starting microsocks")?;
        let (fingerprint, client) = (String::new(), String::new());
        let dir = dir.to_owned();
        let mut server = Self { dir, project, port, process, commands, proxy, proxy_port, fingerprint, client };
        server.set_up()?;
        Ok(server)
    }

    fn set_up(&mut self) -> Result<()> {
        self.administer(&["admin", "waitready", "--timeout", "60"])?;
        self.administer(&["config", "set", "core.https_address", &format!("127.0.0.1:{}", self.port)])?;
        self.administer(&["storage", "create", "pool", "btrfs", "size=12GiB"])?;
        let mut create = vec!["project", "create", &self.project];
        for setting in [
            "features.images=true",
            "features.profiles=true",
            "restricted=true",
            "restricted.containers.nesting=allow",
            "limits.memory=12GiB",
        ] {
            create.extend(["-c", setting]);
        }
        self.administer(&create)?;
        self.incus(&["profile", "device", "add", "default", "root", "disk", "path=/", "pool=pool"])?;
        let key = KeyPair::generate()?;
        let certificate = self.dir.join("client.crt");
        let signed = CertificateParams::new([])?.self_signed(&key)?;
        self.client = Digest::of(signed.der()).hex();
        fs::write(&certificate, signed.pem())?;
        let mut file =
            fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(self.dir.join("client.key"))?;
        file.write_all(key.serialize_pem().as_bytes())?;
        let certificate = certificate.display().to_string();
        let trust = ["config", "trust", "add-certificate", &certificate, "--restricted", "--projects", &self.project];
        self.administer(&trust)?;
        let info = self.administer(&["info"])?;
        let line = info.lines().find_map(|line| line.trim().strip_prefix("certificate_fingerprint: "));
        self.fingerprint = line.context("the server's fingerprint")?.to_owned();
        // It says nothing when it listens, so there is nothing to wait for but the port.
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.proxy_port)).is_err() {
            ensure!(began.elapsed() < START, "microsocks does not listen");
            thread::yield_now();
        }
        Ok(())
    }

    /// What a host definition says about it.
    pub(crate) fn table(&self) -> String {
        let (dir, project) = (self.dir.display(), &self.project);
        format!(
            "\n[machine.incus]\nurl = \"https://127.0.0.1:{}\"\nproject = \"{project}\"\n\
             certificate = \"{dir}/client.crt\"\nkey = \"{dir}/client.key\"\nfingerprint = \"{}\"\n\
             proxy = \"socks5h://127.0.0.1:{}\"\nbudget = \"10GiB\"\ntype = \"container\"\n",
            self.port, self.fingerprint, self.proxy_port
        )
    }

    /// Runs the administrator's client in the project.
    pub(crate) fn incus(&self, arguments: &[&str]) -> Result<String> {
        self.administer(&[arguments, &["--project", &self.project]].concat())
    }

    fn administer(&self, arguments: &[&str]) -> Result<String> {
        let output = self.client().args(arguments).output()?;
        ensure!(output.status.success(), "incus {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn client(&self) -> Command {
        let mut incus = Command::new("incus");
        incus.env("INCUS_DIR", self.dir.join("d")).env("INCUS_CONF", self.dir.join("client")).stdin(Stdio::null());
        incus
    }

    /// The names of the project's instances.
    pub(crate) fn instances(&self) -> Result<String> {
        Ok(self.incus(&["list", "--format", "csv", "--columns", "n"])?.trim().replace('\n', ", "))
    }

    /// Whether it does nothing in the background that somebody asked for.
    pub(crate) fn is_idle(&self) -> Result<bool> {
        let operations = self.incus(&["operation", "list", "--format", "csv"])?;
        Ok(!["PENDING", "RUNNING", "CANCELLING"].iter().any(|state| operations.to_uppercase().contains(state)))
    }

    /// What it does, and what happens to instances, from now on.
    pub(crate) fn events(&self) -> Result<Events> {
        let mut monitor = self.client();
        monitor.args(["monitor", "--type", "lifecycle", "--type", "operation", "--format", "json"]);
        monitor.args(["--project", &self.project]);
        let mut process = monitor.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(process.stdout.take().context("a pipe")?);
        Ok(Events { process, lines })
    }

    /// Ends it, and returns when nothing of it is left.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.proxy);
        drop(self.commands);
        self.process.wait()?;
        ensure!(!self.dir.exists(), "{} is left", self.dir.display());
        Ok(())
    }
}

/// A SOCKS5 proxy.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A stream of the server's events.
pub(crate) struct Events {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Events {
    /// Returns when `action` is heard of; the test runner's deadline is the only one.
    pub(crate) fn wait_for(&mut self, action: &str) -> Result<()> {
        while !self.next()?.contains(action) {}
        Ok(())
    }

    /// The next one, in JSON.
    pub(crate) fn next(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "the server tells of nothing more");
        Ok(line)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // It may have ended with the server.
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
