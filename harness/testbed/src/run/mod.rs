//! The engine: from a host definition to a sealed bundle.
//!
//! Lines of work go on side by side and share nothing but the commit that they are about: the controller clones and
//! decrypts, the *subject* machine lives through bootstrap, switch and observation, the *witness* machine builds the
//! same commit without any secret, *deprived* machines, one after another, are switched without what they need, and the
//! *tracer* machine, where it is asked for, runs the units one by one; the *upgrade* machine, where it is asked for, comes
//! from the previous revision. What they recorded is judged only after every
//! machine is gone, so that the teardown is among the facts.

mod budget;
mod builds;
mod deprived;
mod error;
mod guest;
mod guest_network;
mod injection;
mod known;
mod lifecycle;
mod machines;
mod original;
mod plan;
mod preflight;
mod progress;
mod rebuild;
mod seal;
mod setting;
mod subject;
pub mod switched;
mod tracer;
mod upgrade;
mod witness;

pub use error::RunError;
pub use plan::{Plan, Reach, Selection};
pub use progress::{Phase, Progress, Silent};

use coldproof_criteria::Need;
use coldproof_evidence::{
    Observed, Record,
    bundle::SealedBundle,
    lifecycle::UpgradeObservation,
    ordering::OrderingObservation,
    source::{SopsObservation, SourceObservation},
};

use self::{
    deprived::Deprived,
    progress::Stopwatch,
    setting::{Committed, Setting},
    subject::Subject,
    witness::Witness,
};
pub use crate::source::ErrorKind;
use crate::{host::HostDefinition, sops, source};

/// Runs the plan for the host and seals what was recorded.
///
/// The rebuild is started exactly once and never retried. Everything that the run makes is leased, so that it goes
/// away with this process however it ends.
///
/// # Errors
/// A host definition that cannot be followed, or surroundings that failed before there was anything to judge.
pub async fn run(host: &HostDefinition, plan: &Plan, progress: &dyn Progress) -> Result<SealedBundle, RunError> {
    let stopwatch = Stopwatch::start(progress);
    let setting = Setting::prepare(host, plan, stopwatch).await?;
    let lines = async {
        // One after the other, so that the upgrade adds nothing to the memory of all machines.
        let beside = async { Ok((witness::run(&setting).await?, upgrade::run(&setting).await)) };
        tokio::try_join!(
            controller(&setting),
            subject::run(&setting),
            beside,
            deprived::run(&setting),
            tracer::run(&setting)
        )
    };
    let (controller, subject, (witness, upgrade), deprived, ordering) =
        lines.await.map_err(|error: RunError| error.with_deadline(host.machine.deadline.into()))?;
    seal::seal(setting, Recorded { controller, subject, witness, upgrade, deprived, ordering })
}

/// What the lines of work brought back.
struct Recorded {
    controller: Controller,
    subject: Subject,
    witness: Witness,
    upgrade: Observed<UpgradeObservation>,
    deprived: Deprived,
    ordering: Observed<OrderingObservation>,
}

struct Controller {
    source: SourceObservation,
    sops: Observed<SopsObservation>,
}

/// The fresh clone on the controller, and the sops files in it.
async fn controller(setting: &Setting<'_>) -> Result<Controller, RunError> {
    let work = async {
        let (source, clone) = source::observe(&setting.source, setting.network.git()).await?;
        preflight::fits(setting, clone.path()).await?;
        // Once there is a machine that holds the secrets, they are looked for in everything that comes back from it.
        let opened = if setting.selection.needs(Need::Sops) || setting.selection.reach() == Reach::Switched {
            Some(sops::observe(&clone, &setting.sops_request()?).await?)
        } else {
            None
        };
        let (sops, values) = match opened {
            Some(opened) => (Observed::of(opened.observation), opened.values),
            None => (Observed::NotObserved, Vec::new()),
        };
        setting.know(values)?;
        setting.announce(committed(&source, sops.facts()));
        Ok(Controller { source, sops })
    };
    setting.stopwatch.time(Phase::Source, work).await
}

fn committed(source: &SourceObservation, sops: Option<&SopsObservation>) -> Committed {
    let superproject = source.repositories.iter().find(|repository| repository.path == ".");
    let leaf = sops.and_then(|sops| sops.certificate.as_ref()).and_then(|certificate| certificate.chain_der.first());
    Committed {
        commit: superproject.map(|repository| repository.head.clone()).unwrap_or_default(),
        leaf: leaf.and_then(|der| hex::decode(der).ok()),
    }
}

/// An empty record for this setting: what was asked, of whom, on what.
fn record(setting: &Setting<'_>) -> Record {
    Record { context: setting.context(), expectations: setting.expectations.clone(), ..Record::default() }
}
