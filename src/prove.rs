//! `coldproof prove`: the main job.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use coldproof_evidence::bundle::SealedBundle;
use coldproof_machines::paths::Paths;
use coldproof_testbed::{
    host::{HostDefinition, Provider},
    run::{self, Plan, Reach, Selection},
};
use coldproof_verdict::{Policy, Report, render};

use crate::{
    failure::{INCONCLUSIVE, Usage},
    interrupt,
    output::{result, say},
    progress::Display,
    toolbox,
    world::ReferenceWorld,
};

#[derive(Debug, Default, clap::Args)]
#[command(after_help = "Examples:
  coldproof prove                                     the reference host, on a throwaway QEMU machine
  coldproof prove --host ./world/coldproof.toml       a host of your own
  coldproof prove --only 'tls.*' --only secrets.modes only some criteria, and only what they need
  coldproof prove --cold --json > proof.json          boot instead of forking; JSON for a gate
  coldproof prove --only 'ordering.*'                 whether units race; otherwise only where the host has [ordering]
  coldproof prove --only 'lifecycle.*'                from the previous revision too; otherwise only where required
  coldproof prove --keep                              leave the machine running and say how to enter it")]
pub(crate) struct Arguments {
    /// Host definition; the reference host when absent
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Where the machine comes from, instead of what the host definition says
    #[arg(long, value_name = "NAME", value_parser = provider)]
    provider: Option<Provider>,
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
    /// Arguments for a proof of one criterion.
    pub(crate) fn of_criterion(
        name: &str,
        host: Option<PathBuf>,
        provider: Option<Provider>,
        out: Option<PathBuf>,
        json: bool,
    ) -> Self {
        Self { host, provider, out, json, only: vec![name.to_owned()], ..Self::default() }
    }

    pub(crate) fn run(self) -> Result<ExitCode> {
        if self.list {
            list_criteria()?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.install {
            toolbox::install()?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let display = Display::new();
        let outcome = runtime.block_on(interrupt::or(self.prove(&display)));
        display.finish();
        match outcome? {
            Some((bundle, selection)) => self.report(&bundle, &selection),
            None => {
                say("coldproof: interrupted; everything this run had made is removed");
                Ok(ExitCode::from(INCONCLUSIVE))
            }
        }
    }

    async fn prove(&self, display: &Display) -> Result<(SealedBundle, Selection)> {
        // Kept until the run has ended: the reference world goes away with it.
        let world;
        let definition = match &self.host {
            Some(file) => file.clone(),
            None => {
                world = ReferenceWorld::write(None).await?;
                world.definition()
            }
        };
        let host = HostDefinition::load(&definition)?;
        let mut plan = Plan::new(self.bundle_directory(&host)?, coldproof_reference::image_recipe());
        plan.only.clone_from(&self.only);
        plan.cold = self.cold;
        plan.keep = self.keep;
        plan.provider = self.provider;
        if self.no_machine {
            plan.at_most = Reach::Source;
        }
        let selection = plan.selection().map_err(|error| Usage(error.to_string()))?;
        let bundle = run::run(&host, &plan, display).await?;
        Ok((bundle, selection))
    }

    fn bundle_directory(&self, host: &HostDefinition) -> Result<PathBuf> {
        if let Some(out) = &self.out {
            return Ok(out.clone());
        }
        let runs = Paths::from_env().state.join("runs");
        std::fs::create_dir_all(&runs).with_context(|| {
            format!(
                "making {}; set COLDPROOF_STATE to a directory that may be written to, or use --out",
                runs.display()
            )
        })?;
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        Ok(runs.join(format!("{}-{now}-{}", host.host.name, std::process::id())))
    }

    fn report(&self, bundle: &SealedBundle, selection: &Selection) -> Result<ExitCode> {
        let policy = Policy::of(&bundle.record.expectations)?.only(selection.criteria());
        let report = Report::new(&bundle.record, &bundle.findings, &policy, bundle.dir.display().to_string())
            .restricted_to(&self.only);
        if self.json {
            result(serde_json::to_string_pretty(&report)?)?;
        }
        say(render(&report, std::io::stderr().is_terminal()).trim_end());
        Ok(ExitCode::from(report.verdict.exit_code()))
    }
}

/// The provider of this name, as the host definition knows them.
pub(crate) fn provider(name: &str) -> Result<Provider, String> {
    let known = [Provider::Qemu, Provider::Incus, Provider::Docker, Provider::Ssh];
    let found = known.into_iter().find(|provider| provider.word() == name);
    found.ok_or_else(|| format!("known are {}", known.map(Provider::word).join(", ")))
}

fn list_criteria() -> Result<()> {
    for criterion in coldproof_criteria::CRITERIA {
        result(format_args!("{:<28} {}", criterion.name, criterion.summary))?;
    }
    Ok(())
}
