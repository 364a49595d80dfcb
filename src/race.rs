//! `coldproof race`: whether any two units of a host can get into each other's way.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use coldproof_testbed::host::Provider;

use crate::prove;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each unit of the switch runs alone under strace, on a throwaway machine. Two that touch the same path, one of them
writing, need an order or a lock; where they have none, the report says what was seen when they were made to meet.
`coldproof prove` judges this as well where the host definition has [ordering].

What may be shared all the same is written into the host definition, with the reason:

  [ordering]
  allow = [{ path = \"/var/log/ci\", units = [\"deploy-*.service\"], reason = \"each has its own file there\" }]

Examples:
  coldproof race                              the reference host
  coldproof race --host ./world/coldproof.toml --json
  coldproof reference ./world --fault reconcilers-unordered   a host that races"
)]
pub(crate) struct Arguments {
    /// Host definition; the reference host when absent
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Where the machine comes from, instead of what the host definition says
    #[arg(long, value_name = "NAME", value_parser = prove::provider)]
    provider: Option<Provider>,
    /// Directory for the bundle; must not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON document to stdout
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let Self { host, provider, out, json } = self;
        prove::Arguments::of_criterion("ordering.race-free", host, provider, out, json).run()
    }
}
