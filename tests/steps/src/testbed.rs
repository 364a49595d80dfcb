//! The testbed of one scenario: a host in a known state, and the proof that was made of it.

use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use coldproof_evidence::{Record, bundle::SealedBundle};
use coldproof_reference::Fault;

use crate::{
    command::{self, Ended, Underway, Variant},
    finding::{holds, only_the_fault_fails, reports},
    glossary,
    record::{self, Reach},
};

/// The reference host's name.
const HOST: &str = "cc-ci";

/// What a scenario has: which state the host is in, and what was recorded of it.
#[derive(Default)]
pub struct Testbed {
    host: Host,
    proof: Option<SealedBundle>,
    underway: Option<Underway>,
    ended: Option<Ended>,
}

/// The state of the reference host.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Host {
    /// No step has said it yet.
    #[default]
    Unstated,
    /// What is committed, without a fault.
    Committed,
    /// What is committed, and said to run on the original.
    Claimed,
    /// What is committed where it runs a stack on a swarm as well, without a fault.
    Stacked,
    /// With one seeded fault.
    Faulty(&'static Fault),
    /// What is committed, under another host definition.
    Misdefined(Variant),
}

impl Testbed {
    /// Puts the host into the state that the domain's words describe.
    ///
    /// # Errors
    /// When there is no such host or no such state.
    pub fn host(&mut self, name: &str, state: &str) -> Result<()> {
        ensure!(name == HOST, "there is no host {name:?}; the reference host is {HOST:?}");
        self.host = glossary::state(state)?;
        Ok(())
    }

    /// Examines the repositories, without any machine.
    ///
    /// # Errors
    /// When the proof could not be made.
    pub async fn examine(&mut self) -> Result<()> {
        self.proof = Some(record::of(self.host, Reach::Repositories).await?);
        Ok(())
    }

    /// Rebuilds the host on a blank machine and observes it to the machine's end.
    ///
    /// # Errors
    /// When the proof could not be made.
    pub async fn rebuild(&mut self) -> Result<()> {
        self.proof = Some(record::of(self.host, Reach::Machine).await?);
        Ok(())
    }

    /// The criterion was judged and holds, for at least one subject.
    ///
    /// # Errors
    /// When it does not hold, or was not judged.
    pub fn holds(&self, criterion: &str) -> Result<()> {
        holds(&self.proof()?.findings, criterion)
    }

    /// The criterion holds, and the recorded facts say so to whoever reads them without it.
    ///
    /// # Errors
    /// When it does not hold, was not judged, or the facts say otherwise.
    pub fn holds_by(&self, criterion: &str, facts: fn(&Record) -> Result<()>) -> Result<()> {
        self.holds(criterion)?;
        facts(&self.proof()?.record).with_context(|| format!("{criterion} passed, and yet"))
    }

    /// Exactly the criteria fail that the seeded fault is about; one of them is about `noun`, and says what `naming` asks for.
    ///
    /// # Errors
    /// When another criterion fails, one does not, or none says it.
    pub fn finds(&self, noun: &str, naming: &str) -> Result<()> {
        let Host::Faulty(fault) = self.host else {
            bail!("no step has put the host into a faulty state");
        };
        let findings = &self.proof()?.findings;
        only_the_fault_fails(findings, fault)?;
        reports(findings, glossary::criterion(noun)?, &naming.parse()?)
    }

    /// Asks the command for a proof, with these arguments.
    pub(crate) async fn ask(&mut self, arguments: &[&str]) -> Result<()> {
        self.ended = Some(command::prove(self.host, arguments).await?);
        Ok(())
    }

    /// Has the command prove the host, up to the middle of its switch.
    pub(crate) async fn begin(&mut self, name: &str) -> Result<()> {
        self.host(name, "is as it is committed")?;
        self.underway = Some(command::prove_until_switching(self.host).await?);
        Ok(())
    }

    /// Kills the command that is under way.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let underway = self.underway.take().context("no command is under way")?;
        self.ended = Some(underway.kill().await?);
        Ok(())
    }

    /// How the command ended.
    pub(crate) fn ended(&self) -> Result<&Ended> {
        self.ended.as_ref().context("no command has ended yet")
    }

    /// The proof that was made.
    ///
    /// # Errors
    /// When no step has made one.
    pub fn proof(&self) -> Result<&SealedBundle> {
        self.proof.as_ref().context("no step has made a proof yet")
    }
}

/// Says which state, never what was recorded: cucumber prints Worlds.
impl fmt::Debug for Testbed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.host {
            Host::Faulty(fault) => fault.name,
            Host::Committed => "committed",
            Host::Claimed => "claimed",
            Host::Stacked => "stacked",
            Host::Misdefined(_) => "misdefined",
            Host::Unstated => "unstated",
        };
        let bundle = self.proof.as_ref().map(|proof| proof.digest);
        f.debug_struct("Testbed").field("host", &fault).field("bundle", &bundle).finish_non_exhaustive()
    }
}
