//! `coldproof selftest`: proves that each seeded fault is caught, and that the clean host passes.

mod display;
mod trials;

use std::{num::NonZero, path::PathBuf, process::ExitCode, thread};

use anyhow::Result;
use coldproof_selftest::{Matrix, page, render, select};
use coldproof_testbed::host::{HostDefinition, Provider};

use self::trials::Machines;
use crate::{
    failure::{INCONCLUSIVE, Usage},
    interrupt,
    output::{result, say},
    prove, toolbox,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  coldproof selftest                                every fault, on throwaway QEMU machines
  coldproof selftest --provider docker              the same in containers: minutes
  coldproof selftest --host coldproof.toml          in instances on the Incus server that this host is proven on
  coldproof selftest --only 'secret-*' --only tls.names
                                                    by the names of faults, or of criteria that must catch them

Exit codes: 0 each is caught by exactly the criteria that it lists · 1 one is not, or the clean host does not pass
            2 wrong usage · 3 inconclusive")]
pub(crate) struct Arguments {
    /// Where the machines come from, instead of what a host definition says
    #[arg(long, value_name = "NAME", value_parser = prove::provider)]
    provider: Option<Provider>,
    /// A host definition whose section `machine` says where the machines come from: its provider, and its Incus server
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Only faults of which the name, or a criterion that must catch them, matches this glob (repeatable)
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// How many faults at once; one for each processor when absent
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Print one JSON document to stdout
    #[arg(long)]
    json: bool,
    /// Print the matrix to stdout as a page of Markdown, which is docs/faults.md
    #[arg(long, conflicts_with_all = ["json", "only"])]
    markdown: bool,
    /// Install what is missing first (Debian packages; needs root)
    #[arg(long)]
    install: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let faults = select(&self.only).map_err(|error| Usage(error.to_string()))?;
        if self.install {
            toolbox::install()?;
        }
        let host = self.host.as_deref().map(HostDefinition::load).transpose()?;
        let machines = Machines::new(self.provider, host);
        let jobs = self.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let outcome = runtime.block_on(interrupt::or(trials::run(faults, &machines, jobs)));
        match outcome? {
            Some(matrix) => self.report(&matrix),
            None => {
                say("coldproof: interrupted; everything this run had made is removed");
                Ok(ExitCode::from(INCONCLUSIVE))
            }
        }
    }

    fn report(&self, matrix: &Matrix) -> Result<ExitCode> {
        if self.json {
            result(serde_json::to_string_pretty(matrix)?)?;
        }
        if self.markdown {
            result(page(matrix).trim_end())?;
        }
        say(format_args!("\n{}", render(matrix).trim_end()));
        Ok(ExitCode::from(matrix.verdict.exit_code()))
    }
}
