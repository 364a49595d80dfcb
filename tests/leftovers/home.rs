//! Where a command keeps everything that it makes, so that one can look whether anything is left.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may outlive the command.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// Where a command keeps everything that it makes, so that one can look whether anything is left.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Result<Self> {
        let home = coldproof_steps::home::make()?;
        for directory in ["state", "runtime", "memory", "temporary"] {
            fs::create_dir(home.path().join(directory))?;
        }
        Ok(Self(home))
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Proves the reference host, so that its world has to go away, too.
    pub(crate) fn prove(&self) -> Command {
        self.coldproof("prove")
    }

    pub(crate) fn coldproof(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coldproof"));
        command
            .arg(subcommand)
            .env("COLDPROOF_STATE", self.path("state"))
            .env("COLDPROOF_RUNTIME", self.path("runtime"))
            .env("XDG_RUNTIME_DIR", self.path("memory"))
            .env("TMPDIR", self.path("temporary"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        command
    }

    /// Puts a script in front of a program that is installed, and returns the PATH on which it is.
    pub(crate) fn put_in_front(&self, program: &str, script: &str) -> Result<String> {
        let programs = self.path("programs");
        fs::create_dir(&programs)?;
        let file = programs.join(program);
        fs::write(&file, script)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        Ok(format!("{}:{}", programs.display(), std::env::var("PATH")?))
    }

    /// The ledger's entries. One that is just being written or removed cannot be read.
    pub(crate) fn leases(&self) -> Vec<Value> {
        let files = entries(&self.path("state/ledger"));
        files.iter().filter_map(|file| serde_json::from_slice(&fs::read(file).ok()?).ok()).collect()
    }

    /// Waits until nothing is left, and says how long after `began` that was.
    pub(crate) fn await_nothing(&self, leases: &[Value], began: Instant) -> Result<Duration> {
        loop {
            let left = self.left(leases);
            if left.is_empty() {
                return Ok(began.elapsed());
            }
            ensure!(began.elapsed() < LIMIT, "left after {LIMIT:?}: {left:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn left(&self, leases: &[Value]) -> Vec<String> {
        let home = self.0.path();
        let directories = ["state/ledger", "state/leases", "runtime", "memory", "temporary"];
        let files = directories.iter().flat_map(|directory| entries(&self.path(directory)));
        let bundles = entries(&self.path("state/runs")).into_iter();
        let drafts = bundles.filter(|bundle| bundle.extension().is_some_and(|extension| extension == "partial"));
        let groups = leases.iter().filter_map(|lease| lease["containment"]["path"].as_str()).map(PathBuf::from);
        let held = leases.iter().flat_map(|lease| lease["directories"].as_array().into_iter().flatten());
        let held = held.filter_map(Value::as_str).map(PathBuf::from);
        let paths = files.chain(drafts).chain(groups.chain(held).filter(|path| path.exists()));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts.lines().filter(|mount| mount.contains(&*home.to_string_lossy())).map(str::to_owned);
        paths.map(|path| path.display().to_string()).chain(mounts).chain(processes(home)).collect()
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Processes that name the home in their arguments or environment, or are in it.
fn processes(home: &Path) -> Vec<String> {
    let text = home.to_string_lossy();
    let names = |dir: &Path, file: &str| {
        fs::read(dir.join(file)).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&*text))
    };
    let is_in = |dir: &Path| fs::read_link(dir.join("cwd")).is_ok_and(|cwd| cwd.starts_with(home));
    let found = entries(Path::new("/proc")).into_iter();
    let found = found.filter(|dir| names(dir, "cmdline") || names(dir, "environ") || is_in(dir));
    found.map(|dir| fs::read_to_string(dir.join("cmdline")).unwrap_or_default().replace('\0', " ")).collect()
}

/// Waits until `done` holds, for `limit` at most.
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !done()? {
        ensure!(began.elapsed() < limit, "after {limit:?} still not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The status of a command that is to end now.
pub(crate) fn wait(child: &mut Child) -> Result<ExitStatus> {
    wait_until("the end of the command", LIMIT, || Ok(child.try_wait()?.is_some()))?;
    Ok(child.wait()?)
}
