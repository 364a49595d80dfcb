//! `coldproof doctor`: what this machine can do, and what it lacks.

mod providers;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use coldproof_machines::{image::ImageStore, paths::Paths};
use coldproof_testbed::{
    host::{HostDefinition, Provider},
    tools,
};

use self::providers::{State, row};
use crate::{
    failure::INCONCLUSIVE,
    output::{result, say},
    toolbox::{self, Wanting},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coldproof doctor                          look, change nothing; exit 3 if something is missing
  coldproof doctor --fix                    install what is missing (Debian packages, sops)
  coldproof doctor --host coldproof.toml    whether its Incus server answers and trusts us, and ssh is let in

A proof needs one provider: QEMU by default, a Docker engine, an Incus server, or a host that runs already, over SSH.")]
pub(crate) struct Arguments {
    /// Install what is missing
    #[arg(long)]
    fix: bool,
    /// A host definition whose provider has to work, and whose Incus server or running host is asked
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.fix {
            toolbox::install()?;
        }
        let host = self.host.as_deref().map(HostDefinition::load).transpose()?;
        for command in tools::debian_tools().map(|tool| tool.command).chain(["sops"]) {
            match tools::find(command) {
                Some(path) => line("ok", command, &path.display().to_string())?,
                None => line("MISSING", command, "")?,
            }
        }
        let store = ImageStore::open(&Paths::from_env());
        match store.find(&coldproof_reference::image_recipe()) {
            Some(image) => line("ok", "blank image", &image.dir.display().to_string())?,
            None => line("later", "blank image", "built by the first run, or by `coldproof image`")?,
        }
        let wanting = Wanting::look();
        let works = report(host.as_ref(), &wanting)?;
        if !wanting.is_empty() {
            say("\ninstall what is missing with: coldproof doctor --fix");
        }
        Ok(if works && wanting.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(INCONCLUSIVE) })
    }
}

/// Says of each provider whether it works; returns whether the one does that the host is proven with.
fn report(host: Option<&HostDefinition>, wanting: &Wanting) -> Result<bool> {
    let needed = host.map_or(Provider::default(), |host| host.machine.provider);
    let machine = host.map(|host| &host.machine);
    let states = tokio::runtime::Runtime::new()?.block_on(providers::look(machine, wanting));
    for (provider, state) in &states {
        result(row(*provider, state, *provider == needed))?;
    }
    Ok(states.iter().any(|(provider, state)| *provider == needed && matches!(state, State::Works(_))))
}

fn line(state: &str, what: &str, detail: &str) -> Result<()> {
    result(format!("{state:<8} {what:<20} {detail}").trim_end())
}
