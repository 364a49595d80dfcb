//! What the tests on real machines share.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, ensure};
use coldproof_machines::{
    lease::Lease,
    ledger::Ledger,
    provider::{BootImage, Machine, MachineSpec, Provider},
    qemu::QemuProvider,
};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;

/// One test: a state directory of its own, and a provider.
pub(crate) struct Bench {
    state: TempDir,
    pub(crate) provider: QemuProvider,
    started: Instant,
}

/// A test that runs `body` on a runtime of its own.
pub(crate) fn trial<F>(name: &'static str, body: fn(Bench) -> F) -> Trial
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { body(Bench::new().await?).await }).map_err(|error| Failed::from(format!("{error:?}")))
    })
}

/// Shows what happens on standard error when `RUST_LOG` asks for it.
pub(crate) fn log() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
}

impl Bench {
    async fn new() -> anyhow::Result<Self> {
        let provider = QemuProvider::detect().await?;
        Ok(Self { state: tempfile::tempdir()?, provider, started: Instant::now() })
    }

    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::at(self.state.path().join("state"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }

    pub(crate) fn spec(&self, name: &str) -> MachineSpec {
        MachineSpec {
            name: name.to_owned(),
            memory: 1 << 30,
            cpus: 2,
            disk: 8 << 30,
            forwards: vec![],
            guest_services: vec![],
            cold: true,
            image: image().expect("COLDPROOF_TEST_IMAGE names an image, or one is in the cache"),
        }
    }

    pub(crate) async fn create(&self, spec: &MachineSpec) -> anyhow::Result<Box<dyn Machine>> {
        let lease = Lease::acquire(&self.ledger(), "test", &spec.name)?;
        self.note("lease acquired");
        Ok(self.provider.create(spec, lease).await?)
    }

    pub(crate) fn note(&self, what: &str) {
        eprintln!("{:7.3} s  {what}", self.started.elapsed().as_secs_f64());
    }

    /// Whether the ledger is empty and no lease has left a directory.
    pub(crate) fn assert_clean(&self) -> anyhow::Result<()> {
        ensure!(self.ledger().entries()?.is_empty(), "{:?}", self.ledger().entries()?);
        let leases = fs::read_dir(self.ledger().state().join("leases"))?.count();
        ensure!(leases == 0, "{leases} lease directories are left");
        Ok(())
    }
}

fn image() -> anyhow::Result<BootImage> {
    let dir = match std::env::var_os("COLDPROOF_TEST_IMAGE") {
        Some(dir) => PathBuf::from(dir),
        None => newest(Path::new("/var/cache/coldproof/images"))?,
    };
    let key = dir.file_name().context("an image's directory has a name")?.to_string_lossy().into_owned();
    Ok(BootImage { root: dir.join("root.raw"), kernel: dir.join("vmlinux"), initrd: dir.join("initrd"), key })
}

fn newest(images: &Path) -> anyhow::Result<PathBuf> {
    let complete = fs::read_dir(images)?.flatten().map(|entry| entry.path()).filter(|dir| dir.join("vmlinux").exists());
    complete.max_by_key(|dir| fs::metadata(dir).and_then(|data| data.modified()).ok()).context("no image")
}
