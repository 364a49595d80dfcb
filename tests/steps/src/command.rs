//! The command itself, run as a user runs it: in a process of its own, with a home of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{home, processes, record, testbed::Host};

static COMMAND: OnceLock<PathBuf> = OnceLock::new();

/// Names the `coldproof` command that scenarios run, for instance `env!("CARGO_BIN_EXE_coldproof")`.
pub fn use_command(path: impl Into<PathBuf>) {
    COMMAND.get_or_init(|| path.into());
}

/// What is changed in a good host definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// A section that no host definition has.
    MisspeltSection,
    /// A machine without the memory that its kernel needs to start.
    NeverBoots,
    /// A repository behind a port where nobody listens.
    NobodyServes,
}

impl Variant {
    fn edit(self, definition: &mut toml::Table) -> Result<()> {
        let (section, changes): (_, &[(&str, &str)]) = match self {
            Self::MisspeltSection => ("sevices", &[("unit", "nginx.service")]),
            Self::NeverBoots => ("machine", &[("memory", "24MiB"), ("deadline", "15s")]),
            // Port 1 (tcpmux) is served nowhere.
            Self::NobodyServes => ("source", &[("url", "http://127.0.0.1:1/base.git")]),
        };
        let section = definition.entry(section).or_insert_with(|| toml::Table::new().into());
        let section = section.as_table_mut().context("not a section")?;
        section.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())));
        Ok(())
    }
}

/// How the command ended.
pub(crate) struct Ended {
    code: Option<i32>,
    said: String,
    home: Home,
}

/// A command that is running.
pub(crate) struct Underway {
    child: Child,
    home: Home,
}

/// Where a command keeps everything that outlives it, so that one can look whether anything did.
struct Home(TempDir);

impl Home {
    fn new() -> Result<Self> {
        Ok(Self(home::make()?))
    }

    fn command(&self, definition: &Path, arguments: &[&str]) -> Result<Command> {
        let program = COMMAND.get().context("no command to run; call coldproof_steps::use_command in main")?;
        let mut command = Command::new(program);
        command
            .args(["prove", "--cold", "--json"])
            .args(arguments)
            .arg("--out")
            .arg(self.0.path().join("bundle"))
            .arg("--host")
            .arg(definition)
            .env("COLDPROOF_STATE", self.0.path().join("state"))
            .env("COLDPROOF_RUNTIME", self.0.path().join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// No lease, no file and no process is left.
    fn ensure_empty(&self) -> Result<()> {
        for directory in ["state/ledger", "state/leases", "run"] {
            let left: Vec<_> = entries(&self.0.path().join(directory))?;
            ensure!(left.is_empty(), "left in {directory}: {left:?}");
        }
        let left = processes::naming(self.0.path())?;
        ensure!(left.is_empty(), "still running: {left:?}");
        Ok(())
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => Ok(found?.map(|entry| entry.map(|e| e.path())).collect::<io::Result<_>>()?),
    }
}

/// The host definition of this state, beside the world that it describes.
async fn definition(host: Host) -> Result<PathBuf> {
    let Host::Misdefined(variant) = host else {
        return Ok(record::world(host).await?.join("coldproof.toml"));
    };
    let world = record::world(Host::Committed).await?;
    let mut definition: toml::Table = fs::read_to_string(world.join("coldproof.toml"))?.parse()?;
    variant.edit(&mut definition)?;
    let path = world.join(format!("{variant:?}.coldproof.toml"));
    fs::write(&path, definition.to_string())?;
    Ok(path)
}

/// Asks the command for a proof, and waits for its end.
pub(crate) async fn prove(host: Host, arguments: &[&str]) -> Result<Ended> {
    let home = Home::new()?;
    let output = home.command(&definition(host).await?, arguments)?.output().await.context("running coldproof")?;
    let said = [output.stdout, output.stderr].concat();
    Ok(Ended { code: output.status.code(), said: String::from_utf8_lossy(&said).into_owned(), home })
}

/// Starts a proof and waits until it is in the middle of its switch.
pub(crate) async fn prove_until_switching(host: Host) -> Result<Underway> {
    let home = Home::new()?;
    let mut child = home.command(&definition(host).await?, &["--only", "convergence.one-switch"])?.spawn()?;
    let stderr = child.stderr.take().context("piped")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut said = String::new();
    while let Some(line) = lines.next_line().await? {
        // A detail of a phase that is under way, as it is told where standard error is no terminal.
        if line.trim_start().starts_with("switch ") {
            let id = child.id().context("it has ended already")?;
            ensure!(!processes::below(id)?.is_empty(), "the command switches no machine");
            return Ok(Underway { child, home });
        }
        said += &line;
        said.push('\n');
    }
    bail!("the command ended before its switch:\n{said}")
}

impl Underway {
    /// Kills the command without warning, and waits for the end of every process that it had started.
    pub(crate) async fn kill(mut self) -> Result<Ended> {
        let pid = self.child.id().context("it has ended already")?;
        // Stopped first, so that it starts nothing that is not among them.
        let started = processes::stop_and_list(pid)?;
        self.child.kill().await?;
        processes::ended(started).await?;
        Ok(Ended { code: None, said: String::new(), home: self.home })
    }
}

impl Ended {
    /// It ended in this way, by its exit code.
    pub(crate) fn ensure_end(&self, end: &str) -> Result<()> {
        let code = match end {
            "pass" => 0,
            "fail" => 1,
            "wrong usage" => 2,
            "inconclusive" => 3,
            _ => bail!("a command does not end as {end:?}"),
        };
        ensure!(self.code == Some(code), "exit code {:?} instead of {code}:\n{}", self.code, self.said);
        Ok(())
    }

    /// It said this.
    pub(crate) fn ensure_said(&self, words: &str) -> Result<()> {
        ensure!(self.said.contains(words), "it did not say {words:?}:\n{}", self.said);
        Ok(())
    }

    /// Nothing that it made is left.
    pub(crate) fn ensure_nothing_left(&self) -> Result<()> {
        self.home.ensure_empty()
    }
}
