//! Ends `coldproof prove` in the ways in which people and systems do, at random moments, and looks that nothing is left.
//!
//! Once in each way; `COLDPROOF_SOAK_ROUNDS` asks for more.

use std::{
    env, fs, io,
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use rand::Rng as _;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may outlive the command.
const LIMIT: Duration = Duration::from_secs(5);
/// How many lines a whole proof prints before its report, about.
const LINES: usize = 20;
/// How long after a line the end comes, at most: some phases take seconds without a line.
const AFTER_LINE: Duration = Duration::from_millis(2500);

/// How a command is ended.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Ctrl-C, which a terminal sends to the whole process group.
    Interrupt,
    /// Somebody impatient: again, while it cleans up.
    InterruptTwice,
    Terminate,
    HangUp,
    /// It has no chance to clean up.
    Kill,
}

impl Way {
    const ALL: [Self; 5] = [Self::Interrupt, Self::InterruptTwice, Self::Terminate, Self::HangUp, Self::Kill];

    fn end(self, pid: Pid) -> Result<()> {
        match self {
            Self::Interrupt => kill_process_group(pid, Signal::INT)?,
            Self::InterruptTwice => {
                kill_process_group(pid, Signal::INT)?;
                thread::sleep(random(Duration::from_millis(100)));
                // It may be gone already.
                let _ = kill_process_group(pid, Signal::INT);
            }
            Self::Terminate => kill_process(pid, Signal::TERM)?,
            Self::HangUp => kill_process_group(pid, Signal::HUP)?,
            Self::Kill => kill_process(pid, Signal::KILL)?,
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let rounds: usize = env::var("COLDPROOF_SOAK_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    let trials = (1..=rounds).flat_map(|round| {
        Way::ALL.map(|way| {
            // The tag is the one of scenarios, so that the same filters select these.
            let name = format!("nothing_is_left::{way:?}::{round}::@qemu");
            Trial::test(name, move || ended(way).map_err(|error| Failed::from(format!("{error:#}"))))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn ended(way: Way) -> Result<()> {
    let home = Home::new()?;
    let mut child = home.prove()?;
    let pid = Pid::from_child(&child);
    let (lines, pause) = (rand::rng().random_range(0..LINES), random(AFTER_LINE));
    let mut stderr = BufReader::new(child.stderr.take().context("piped")?);
    let said = wait_for_lines(&mut stderr, lines)?;
    thread::sleep(pause);
    if let Some(status) = child.try_wait()? {
        ensure!(status.success(), "the proof ended by itself, with {status}:\n{said}");
        return home.await_nothing(&[], Instant::now()).map(drop);
    }
    let leases = home.leases();
    let began = Instant::now();
    way.end(pid)?;
    let status = wait(&mut child, began)?;
    let gone = home.await_nothing(&leases, began)?;
    eprintln!("{way:?} {pause:?} after line {lines}: {status} and nothing left within {gone:?}; it had said:\n{said}");
    // A proof that is ended says neither that it holds nor that it fails, unless it has just come to its end.
    ensure!(status.code() != Some(1), "{status}");
    Ok(())
}

/// Reads this many lines, or what there is until the end.
fn wait_for_lines(stderr: &mut BufReader<ChildStderr>, lines: usize) -> io::Result<String> {
    let mut said = String::new();
    for _ in 0..lines {
        stderr.read_line(&mut said)?;
    }
    Ok(said)
}

fn wait(child: &mut Child, began: Instant) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        ensure!(began.elapsed() < LIMIT, "it still runs after {LIMIT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn random(limit: Duration) -> Duration {
    limit.mul_f64(rand::rng().random())
}

/// Where a command keeps everything that it makes, so that one can look whether anything is left.
struct Home(TempDir);

impl Home {
    fn new() -> Result<Self> {
        let home = tempfile::Builder::new().prefix("coldproof-home-").tempdir_in("/dev/shm")?;
        // The machine runs as a user of its own, who has to pass through.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o711))?;
        for directory in ["state", "runtime", "memory", "temporary"] {
            fs::create_dir(home.path().join(directory))?;
        }
        Ok(Self(home))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The reference host, so that its world has to go away, too.
    fn prove(&self) -> Result<Child> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coldproof"));
        command
            .arg("prove")
            .env("COLDPROOF_STATE", self.path("state"))
            .env("COLDPROOF_RUNTIME", self.path("runtime"))
            .env("XDG_RUNTIME_DIR", self.path("memory"))
            .env("TMPDIR", self.path("temporary"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        Ok(command.spawn()?)
    }

    /// The ledger's entries. One that is just being written or removed cannot be read.
    fn leases(&self) -> Vec<Value> {
        let files = entries(&self.path("state/ledger"));
        files.iter().filter_map(|file| serde_json::from_slice(&fs::read(file).ok()?).ok()).collect()
    }

    /// Waits until nothing is left, and says how long after `began` that was.
    fn await_nothing(&self, leases: &[Value], began: Instant) -> Result<Duration> {
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
