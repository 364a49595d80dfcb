//! What the tests on real machines share.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use coldproof_machines::{
    deadline::Deadline,
    guest::Guest,
    lease::Lease,
    ledger::Ledger,
    paths::Paths,
    provider::{BootImage, Machine, MachineSpec, Origin, Priority, Provider},
    qemu::QemuProvider,
};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const OWNER: &str = "__owner";
/// This very binary, even if it was built anew since it was started.
const SELF: &str = "/proc/self/exe";

/// One test: a state directory of its own, and a provider.
pub(crate) struct Bench {
    dir: TempDir,
    pub(crate) provider: QemuProvider,
    started: Instant,
}

/// A test that runs `body` on a runtime of its own.
pub(crate) fn trial<F>(name: &'static str, body: fn(Bench) -> F) -> Trial
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    Trial::test(name, move || {
        runtime()?
            .block_on(async { body(Bench::new(tempfile::tempdir()?).await?).await })
            .map_err(|error| Failed::from(format!("{error:?}")))
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Shows what happens on standard error when `RUST_LOG` asks for it.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
}

/// The deadline of a command that takes no time to speak of.
pub(crate) fn soon() -> Deadline {
    within(60)
}

pub(crate) fn within(seconds: u64) -> Deadline {
    Deadline::after(Duration::from_secs(seconds))
}

impl Bench {
    async fn new(dir: TempDir) -> anyhow::Result<Self> {
        // QEMU's user passes through to the lease.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711))?;
        Ok(Self { dir, provider: QemuProvider::detect().await?, started: Instant::now() })
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::at(self.path("state"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn spec(&self, name: &str) -> MachineSpec {
        MachineSpec {
            name: name.to_owned(),
            memory: 1 << 30,
            cpus: 2,
            disk: 8 << 30,
            forwards: vec![],
            guest_services: vec![],
            origin: Origin::Image,
            image: image().expect("COLDPROOF_TEST_IMAGE names an image, or one is in the cache").into(),
            priority: Priority::Normal,
        }
    }

    pub(crate) fn lease(&self, machine: &str) -> anyhow::Result<Lease> {
        Ok(Lease::acquire(&self.ledger(), "test", machine)?)
    }

    pub(crate) async fn create(&self, spec: &MachineSpec) -> anyhow::Result<Box<dyn Machine>> {
        Ok(self.provider.create(spec, self.lease(&spec.name)?, within(300)).await?)
    }

    pub(crate) async fn fork(&self, name: &str) -> anyhow::Result<(Box<dyn Machine>, Guest)> {
        let mut machine = self.create(&MachineSpec { origin: Origin::Blank, ..self.spec(name) }).await?;
        let guest = machine.guest(soon()).await?;
        Ok((machine, guest))
    }

    /// The image, in a directory where a test may change what is kept beside it.
    pub(crate) fn linked_image(&self) -> anyhow::Result<BootImage> {
        let image = image()?;
        let dir = self.path("image");
        fs::create_dir(&dir)?;
        let link = |path: &Path| -> anyhow::Result<PathBuf> {
            let link = dir.join(path.file_name().context("a file has a name")?);
            std::os::unix::fs::symlink(path, &link)?;
            Ok(link)
        };
        Ok(BootImage { root: link(&image.root)?, kernel: link(&image.kernel)?, initrd: link(&image.initrd)?, ..image })
    }

    pub(crate) fn note(&self, what: &str) {
        eprintln!("{:7.3} s  {what}", self.started.elapsed().as_secs_f64());
    }

    /// Whether the ledger is empty, and no lease has left a directory or a process.
    pub(crate) fn assert_clean(&self) -> anyhow::Result<()> {
        let entries = self.ledger().entries()?;
        ensure!(entries.is_empty(), "{entries:?}");
        let leases = fs::read_dir(self.path("state/leases"))?.count();
        ensure!(leases == 0, "{leases} lease directories are left");
        let state = self.path("state").display().to_string();
        let uses_state = |dir: &Path| {
            fs::read(dir.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&state))
        };
        let left: Vec<PathBuf> =
            fs::read_dir("/proc")?.flatten().map(|entry| entry.path()).filter(|dir| uses_state(dir)).collect();
        ensure!(left.is_empty(), "processes are left: {left:?}");
        Ok(())
    }

    /// Waits until everything is clean, and returns how long that took.
    pub(crate) async fn await_clean(&self, limit: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        while let Err(error) = self.assert_clean() {
            ensure!(start.elapsed() < limit, "after {limit:?}: {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(start.elapsed())
    }
}

/// What the machine's process holds in memory.
pub(crate) fn memory(machine: &dyn Machine) -> anyhow::Result<String> {
    let process = machine.evidence().process.context("the machine runs")?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let of = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().replace('\t', " ");
    Ok(format!("{} {} {}", of("VmRSS"), of("RssAnon"), of("RssFile")))
}

/// Another process that owns a machine.
pub(crate) struct Owner(Child);

impl Owner {
    pub(crate) async fn start(bench: &Bench) -> anyhow::Result<Self> {
        let mut owner =
            Command::new(SELF).arg(OWNER).arg(bench.dir.path()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = owner.stdout.take().context("a pipe")?;
        let line = within(120).bound(BufReader::new(stdout).lines().next_line()).await??;
        ensure!(line.as_deref() == Some("running"), "the owner said {line:?}");
        Ok(Self(owner))
    }

    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.0.kill().await?)
    }
}

pub(crate) fn is_owner() -> bool {
    env::args().nth(1).as_deref() == Some(OWNER)
}

/// Runs a machine in the given directory until this process is killed.
pub(crate) fn own_until_killed() {
    let run = async {
        let dir = env::args().nth(2).context("a directory")?;
        let provider = QemuProvider::detect().await?;
        let ledger = Ledger::at(Path::new(&dir).join("state"));
        let lease = Lease::acquire(&ledger, "test", "owned")?;
        let spec =
            Bench { dir: tempfile::tempdir()?, provider: provider.clone(), started: Instant::now() }.spec("owned");
        let mut machine = provider.create(&MachineSpec { origin: Origin::Blank, ..spec }, lease, within(300)).await?;
        machine.guest(within(60)).await?;
        writeln!(io::stdout(), "running")?;
        std::future::pending::<anyhow::Result<()>>().await
    };
    runtime().expect("a runtime").block_on(run).expect("a machine");
}

fn image() -> anyhow::Result<BootImage> {
    let dir = match env::var_os("COLDPROOF_TEST_IMAGE") {
        Some(dir) => PathBuf::from(dir),
        None => newest(&Paths::from_env().cache.join("images"))?,
    };
    let key = dir.file_name().context("an image's directory has a name")?.to_string_lossy().into_owned();
    Ok(BootImage {
        root: dir.join("root.raw"),
        kernel: dir.join("vmlinux"),
        initrd: dir.join("initrd"),
        archive: dir.join("root.tar.zst"),
        key,
    })
}

fn newest(images: &Path) -> anyhow::Result<PathBuf> {
    // The record is written last, and under a name of its own while an image is being built.
    let complete = |dir: &PathBuf| {
        dir.join("image.json").exists()
            && !dir.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    };
    let complete = fs::read_dir(images)?.flatten().map(|entry| entry.path()).filter(complete);
    complete
        .max_by_key(|dir| fs::metadata(dir.join("root.raw")).and_then(|data| data.modified()).ok())
        .context("no image")
}
