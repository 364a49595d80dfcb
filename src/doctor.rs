//! `coldproof doctor`: what this machine can do, and what it lacks.

use std::process::ExitCode;

use anyhow::Result;
use coldproof_machines::{
    image::ImageStore,
    paths::Paths,
    provider::{Accelerator, Provider as _},
    qemu::QemuProvider,
};
use coldproof_testbed::tools;

use crate::{
    failure::INCONCLUSIVE,
    output::{result, say},
    toolbox::{self, Wanting},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coldproof doctor          look, change nothing; exit 3 if something is missing
  coldproof doctor --fix    install what is missing (Debian packages, sops)

A proof needs QEMU, which it uses by default, or a Docker engine that answers (`prove --provider docker`).")]
pub(crate) struct Arguments {
    /// Install what is missing
    #[arg(long)]
    fix: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.fix {
            toolbox::install()?;
        }
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
        let runtime = tokio::runtime::Runtime::new()?;
        #[cfg(feature = "docker")]
        match runtime.block_on(coldproof_testbed::docker()) {
            Ok(capabilities) => line("ok", "provider docker", &accelerated(&capabilities.accelerator))?,
            Err(error) => line("absent", "provider docker", &error.to_string())?,
        }
        let wanting = Wanting::look();
        if !wanting.is_empty() {
            line("MISSING", "provider qemu", &wanting.lines().join("; "))?;
            say("\ninstall what is missing with: coldproof doctor --fix");
            return Ok(ExitCode::from(INCONCLUSIVE));
        }
        let accelerator = runtime.block_on(QemuProvider::detect())?.capabilities().accelerator;
        line("ok", "provider qemu", &accelerated(&accelerator))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn accelerated(accelerator: &Accelerator) -> String {
    format!("{}: {}", accelerator.name, accelerator.reason)
}

fn line(state: &str, what: &str, detail: &str) -> Result<()> {
    result(format!("{state:<8} {what:<20} {detail}").trim_end())
}
