//! `coldproof prove`: the main job.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use coldproof_evidence::bundle::SealedBundle;
use coldproof_machines::paths::Paths;
use coldproof_reference::world;
use coldproof_testbed::{
    host::HostDefinition,
    ram_dir::RamDir,
    run::{self, Plan, Reach, Selection},
};
use coldproof_verdict::{Policy, Report, render};

use crate::{
    failure::{INCONCLUSIVE, Usage},
    interrupt, progress::Display,
    toolbox,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coldproof prove                                     the reference host, on a throwaway QEMU machine
  coldproof prove --host ./world/coldproof.toml       a host of your own
  coldproof prove --only 'tls.*' --only secrets.modes only some criteria, and only what they need
  coldproof prove --cold --json > proof.json          boot instead of forking; JSON for a gate
  coldproof prove --keep                              leave the machine running and say how to enter it")]
pub(crate) struct Arguments {
    /// Host definition; the reference host when absent
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Where the machine comes from, instead of what the host definition says
    #[arg(long, value_name = "NAME", value_parser = ["qemu"])]
    provider: Option<String>,
    /// Judge only criteria that match this glob (repeatable)
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Directory for the bundle; must not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON document to stdout
    #[arg(long)]
    json: bool,
    /// Boot the machines instead of forking the blank stage
    #[arg(long)]
    cold: bool,
    /// Leave the machine running afterwards
    #[arg(long)]
    keep: bool,
    /// Make no machine: judge only what the repositories tell
    #[arg(long)]
    no_machine: bool,
    /// Install what is missing first (Debian packages; needs root)
    #[arg(long)]
    install: bool,
    /// Name the criteria and stop
    #[arg(long)]
    list: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.list {
            list_criteria();
            return Ok(ExitCode::SUCCESS);
        }
        if self.install {
            toolbox::install()?;
        }
        // Kept until the run has ended: the reference world goes away with it.
        let world = self.host.is_none().then(ReferenceWorld::write).transpose()?;
        let definition = world.as_ref().map(ReferenceWorld::definition).or(self.host.clone()).unwrap_or_default();
        let host = HostDefinition::load(&definition)?;
        let mut plan = Plan::new(self.bundle_directory(&host)?, coldproof_reference::image_recipe());
        plan.only.clone_from(&self.only);
        plan.cold = self.cold;
        plan.keep = self.keep;
        if self.no_machine {
            plan.at_most = Reach::Source;
        }
        let selection = plan.selection().map_err(|error| Usage(error.to_string()))?;

        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let display = Display::new();
        let outcome = runtime.block_on(interrupt::or(run::run(&host, &plan, &display)));
        display.finish();
        match outcome {
            Some(bundle) => self.report(&bundle?, &selection),
            None => {
                eprintln!("coldproof: interrupted; everything this run had made is removed");
                Ok(ExitCode::from(INCONCLUSIVE))
            }
        }
    }

    fn bundle_directory(&self, host: &HostDefinition) -> Result<PathBuf> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        let runs = Paths::from_env().state.join("runs");
        std::fs::create_dir_all(&runs).with_context(|| format!("making {}", runs.display()))?;
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        Ok(runs.join(format!("{}-{now}-{}", host.host.name, std::process::id())))
    }

    #[expect(clippy::print_stdout, reason = "the JSON document is this command's output")]
    fn report(&self, bundle: &SealedBundle, selection: &Selection) -> Result<ExitCode> {
        let policy = Policy::of(&bundle.record.expectations)?.only(selection.criteria());
        let report = Report::new(&bundle.record, &bundle.findings, &policy, bundle.dir.display().to_string())
            .restricted_to(&self.only);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        eprint!("{}", render(&report, std::io::stderr().is_terminal()));
        Ok(ExitCode::from(report.verdict.exit_code()))
    }
}

/// A fresh reference world in a private directory that goes away with it.
struct ReferenceWorld(RamDir);

impl ReferenceWorld {
    fn write() -> Result<Self> {
        let dir = RamDir::new().context("making a private directory for the reference world")?;
        let sops = toolbox::sops()?;
        world::write(&dir.path().join("world"), &world::WorldOptions { sops: &sops, fault: None })?;
        Ok(Self(dir))
    }

    fn definition(&self) -> PathBuf {
        self.0.path().join("world/coldproof.toml")
    }
}

#[expect(clippy::print_stdout, reason = "the list is this command's output")]
fn list_criteria() {
    for criterion in coldproof_criteria::CRITERIA {
        println!("{:<28} {}", criterion.name, criterion.summary);
    }
}
