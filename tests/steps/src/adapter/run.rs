//! Runs one scenario to its end, and turns everything that is not a clean pass into an error.

use std::{future, io};

use anyhow::{Context as _, Result, bail, ensure};
use cucumber::{
    Cucumber, Parser, World, WriterExt as _, cli, codegen::WorldInventory, gherkin::Feature, parser, runner, writer,
    writer::Stats as _,
};
use futures::{FutureExt as _, stream};
use tokio::signal::unix::{SignalKind, signal};

use super::{discover::Case, trace};

/// Runs `case` in a runtime of its own. A signal ends it early, naming the step that was running.
///
/// Dropping the scenario drops its World, and with that the machines it owns, within nextest's grace period.
pub(super) fn to_the_end<W: World + std::fmt::Debug + WorldInventory>(case: Case) -> Result<(), String> {
    let outcome = || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let result = runtime.block_on(until_signalled::<W>(case));
        // A blocked thread (a lock, a resolver) must not hold up the end of the process.
        runtime.shutdown_background();
        result
    };
    outcome().map_err(|e: anyhow::Error| format!("{e:#}"))
}

async fn until_signalled<W: World + std::fmt::Debug + WorldInventory>(case: Case) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let name = tokio::select! {
        biased;
        _ = terminate.recv() => "SIGTERM (nextest's time limit)",
        _ = interrupt.recv() => "SIGINT",
        result = scenario::<W>(case) => return result,
    };
    bail!("{name} during step: {}", trace::current_step())
}

async fn scenario<W: World + std::fmt::Debug + WorldInventory>(case: Case) -> Result<()> {
    let runner = runner::Basic::default()
        .steps(W::collection())
        .max_concurrent_scenarios(1)
        // Whatever tags say: nothing is retried.
        .retry_options(|_, _, _, _| None)
        .before(|_, _, _, _| {
            // The runner has replaced the panic hook by one that says nothing.
            trace::report_panics();
            future::ready(()).boxed_local()
        });
    let output = writer::Basic::raw(io::stdout(), writer::Coloring::Never, writer::Verbosity::Default)
        .normalized()
        .summarized()
        .tee::<W, _>(trace::CurrentStep.discard_stats_writes());
    let stats = Cucumber::<W, _, Feature, _, _>::custom(OneFeature, runner, output)
        .fail_on_skipped()
        // Otherwise cucumber parses the arguments that nextest meant for libtest.
        .with_default_cli()
        .run(case.feature)
        .await;
    ensure!(stats.parsing_errors() == 0, "{} parsing error(s)", stats.parsing_errors());
    ensure!(stats.hook_errors() == 0, "{} hook error(s)", stats.hook_errors());
    ensure!(stats.failed_steps() == 0, "{} step(s) failed", stats.failed_steps());
    // `@allow.skipped` gets past fail_on_skipped, so it is counted once more.
    ensure!(stats.skipped_steps() == 0, "{} step(s) skipped", stats.skipped_steps());
    ensure!(stats.passed_steps() > 0, "no step ran");
    Ok(())
}

/// A parser that has parsed already.
#[derive(Clone)]
struct OneFeature;

impl Parser<Feature> for OneFeature {
    type Cli = cli::Empty;
    type Output = stream::Once<future::Ready<parser::Result<Feature>>>;

    fn parse(self, feature: Feature, _: cli::Empty) -> Self::Output {
        stream::once(future::ready(Ok(feature)))
    }
}
