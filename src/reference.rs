//! `coldproof reference`: a fresh world to prove, with or without a seeded fault.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Result, anyhow};
use coldproof_reference::{faults, world};
use coldproof_testbed::tools;

use crate::{
    failure::Usage,
    output::{result, say},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coldproof reference ./world                       then: coldproof prove --host ./world/coldproof.toml
  coldproof reference ./world --fault secret-mode   a world in which secrets.modes must fail
  coldproof reference ./world --with swarm          a host that runs a stack as well; it takes some minutes more
  coldproof reference --list-faults")]
pub(crate) struct Arguments {
    /// Directory to write; must not exist or be empty
    #[arg(required_unless_present = "list_faults")]
    dir: Option<PathBuf>,
    /// Seed this fault
    #[arg(long, value_name = "NAME")]
    fault: Option<String>,
    /// What a blank machine is given to decrypt with
    #[arg(long, value_name = "KIND", default_value = "age-key", conflicts_with = "fault")]
    bootstrap: Bootstrap,
    /// What the host runs beyond nginx and its reconcilers (repeatable)
    #[arg(long, value_name = "KIND", conflicts_with = "fault")]
    with: Vec<Extra>,
    /// List the seeded faults and the criteria that must catch them
    #[arg(long)]
    list_faults: bool,
    /// Print JSON
    #[arg(long, requires = "list_faults")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Bootstrap {
    /// An age key, in sops-nix's key file
    AgeKey,
    /// The host's own SSH key
    SshHostKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Extra {
    /// A Docker swarm of one node, and a stack of three replicas on it
    Swarm,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.json {
            result(serde_json::to_string_pretty(faults())?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let Some(dir) = self.dir else {
            for fault in faults() {
                result(format_args!("{:<32} {:<7} {}", fault.name, fault.layer, fault.criterion.join(", ")))?;
                result(format_args!("{:<32} {}", "", fault.summary))?;
            }
            return Ok(ExitCode::SUCCESS);
        };
        let fault = self.fault.map(|name| named(&name)).transpose()?;
        tools::require("git")?;
        let by_host_key = self.bootstrap == Bootstrap::SshHostKey;
        let swarm = self.with.contains(&Extra::Swarm);
        let options = world::WorldOptions { sops: &tools::sops()?, fault, by_host_key, swarm };
        let is_new = make_room(&dir)?;
        if let Err(error) = world::write(&dir, &options) {
            // Half a world has keys and nothing that they are for.
            if is_new {
                let _ = fs::remove_dir_all(&dir);
            }
            return Err(error);
        }
        let definition = dir.join("coldproof.toml");
        say(format_args!("wrote {}; prove it with: coldproof prove --host {}", dir.display(), definition.display()));
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes the directory unless it is there, and empty; says whether it made it.
fn make_room(dir: &Path) -> Result<bool> {
    let refused = |problem: String| anyhow!(Usage(format!("{}: {problem}", dir.display())));
    match fs::read_dir(dir).map(Iterator::count) {
        Ok(1..) => Err(refused("it is not empty; name a directory that is, or that does not exist yet".to_owned())),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => DirBuilder::new()
            .recursive(true)
            // Keys will be in it.
            .mode(0o700)
            .create(dir)
            .map(|()| true)
            .map_err(|error| refused(format!("it cannot be made ({error}); name a directory that can"))),
        Err(error) => Err(refused(format!("it cannot be used ({error}); name a directory"))),
    }
}

fn named(name: &str) -> Result<&'static coldproof_reference::Fault> {
    faults().iter().find(|fault| fault.name == name).ok_or_else(|| {
        anyhow!(Usage(format!("there is no fault `{name}`; `coldproof reference --list-faults` names them all")))
    })
}
