//! The machine under test: blank, then given one secret, switched once, observed, and destroyed.

use std::{fs, net::SocketAddr, path::Path};

use coldproof_criteria::Need;
use coldproof_evidence::{
    Observed,
    guest::{BootstrapObservation, Inventory, OriginalObservation, SystemObservation},
    leaks::LeaksObservation,
    lifecycle::LifecycleObservation,
    rebuild::RebuildObservation,
    request::{InventoryRequest, ObserveRequest, SecretQuery},
    served::{HttpObservation, TlsObservation},
};
use coldproof_machines::{
    provider::{Machine, MachineEvidence, Origin, Priority},
    receipt::Destroyed,
};
use rustls::pki_types::CertificateDer;

use super::{
    Phase, Reach, RunError,
    guest::{CHECKOUT, Session},
    lifecycle::{self, Action},
    original, rebuild,
    setting::{PROBE_LIMIT, Setting},
    switched,
};
use crate::{
    host::{AgeRecipient, FaultStage},
    probe::{http, probe_names, refusal, tls},
};

/// What the life of the subject machine brought back. Whatever it did not reach stays `NotObserved`.
#[derive(Default)]
pub(super) struct Subject {
    pub(super) blank: Observed<Inventory>,
    pub(super) bootstrap: Observed<BootstrapObservation>,
    pub(super) switch: Observed<RebuildObservation>,
    pub(super) system: Observed<SystemObservation>,
    pub(super) leaks: Observed<LeaksObservation>,
    /// The command line of the machine's process.
    pub(super) argv: Vec<String>,
    pub(super) tls: Observed<TlsObservation>,
    pub(super) http: Observed<HttpObservation>,
    pub(super) original: Observed<OriginalObservation>,
    pub(super) second_switch: Observed<RebuildObservation>,
    pub(super) second_system: Observed<SystemObservation>,
    pub(super) reboot: Observed<LifecycleObservation>,
    pub(super) resize: Observed<LifecycleObservation>,
    /// Whether a machine was made that captured its packets.
    pub(super) captured: bool,
    /// The receipt of its destruction; none if it was kept, or none was needed.
    pub(super) receipt: Option<Destroyed>,
    /// Why nobody could see whether what it held is gone, where the way to it was lost.
    pub(super) unseen_end: Option<String>,
    /// The lease under which it was kept.
    pub(super) kept: Option<String>,
}

/// Runs the subject machine as far as the selected criteria need.
pub(super) async fn run(setting: &Setting<'_>) -> Result<Subject, RunError> {
    let mut subject = Subject::default();
    if let Some(host) = setting.original {
        return original::run(setting, &host.ssh, subject).await;
    }
    if setting.selection.subject_reach() == Reach::Source {
        return Ok(subject);
    }
    let made = async {
        match &setting.plan.stage {
            Some(stage) => setting.machine_from(Origin::Saved(stage.clone()), "subject", Priority::Normal).await,
            None => setting.machine("subject", Priority::Normal).await,
        }
    };
    let (mut machine, mut session) = setting.stopwatch.time(Phase::Boot, made).await?;
    let life = live(setting, machine.as_mut(), &mut session, &mut subject).await;
    // A fork's packets are not all that there were.
    subject.captured = machine.evidence().packet_capture.is_some() && setting.plan.stage.is_none();
    if let Err(error) = life {
        if setting.keep() {
            setting.keep_machine(machine).await?;
        }
        return Err(error);
    }
    if setting.keep() {
        copy_evidence(&machine.evidence(), &setting.attachments())?;
        subject.kept = Some(setting.keep_machine(machine).await?);
    } else {
        setting.inject_at_teardown(machine.as_ref()).await?;
        let attachments = setting.attachments();
        subject.receipt =
            Some(setting.stopwatch.time(Phase::Teardown, setting.destroy(machine, Some(&attachments))).await?);
    }
    Ok(subject)
}

/// A machine that goes on running keeps its evidence; the bundle gets what there is so far.
fn copy_evidence(evidence: &MachineEvidence, attachments: &Path) -> Result<(), RunError> {
    for file in evidence.packet_capture.iter().chain([&evidence.console_log]) {
        let name = file.file_name().unwrap_or_default();
        fs::copy(file, attachments.join(name)).map_err(RunError::io(format!("copying {}", file.display())))?;
    }
    Ok(())
}

/// Everything that happens while the machine runs, in the only order in which it proves anything.
async fn live(
    setting: &Setting<'_>,
    machine: &mut dyn Machine,
    session: &mut Session,
    subject: &mut Subject,
) -> Result<(), RunError> {
    let stopwatch = &setting.stopwatch;
    match &setting.plan.stage {
        Some(stage) => switched::recall(setting, stage, subject)?,
        None => to_the_switch(setting, session, subject).await?,
    }
    if setting.selection.subject_reach() < Reach::Switched {
        return Ok(());
    }
    setting.inject(FaultStage::Switched, session).await?;
    observe(setting, machine, session, subject).await?;
    leaks(setting, machine, session, subject).await?;

    // After all else: a second switch heals what the first one left broken.
    if setting.selection.needs(Need::SecondSwitch) {
        subject.second_switch = switch(setting, session, Phase::SecondSwitch, "second-switch").await?;
        let since = subject.second_switch.facts().map_or(0, |switch| switch.started_us);
        let request = observe_request(setting, since);
        subject.second_system = Observed::of(stopwatch.time(Phase::Observe, session.observe(&request)).await?);
    }
    restart(setting, machine, session, subject).await;
    Ok(())
}

/// From the blank machine to the end of its one switch, as far as the selected criteria need.
pub(super) async fn to_the_switch(
    setting: &Setting<'_>,
    session: &mut Session,
    subject: &mut Subject,
) -> Result<(), RunError> {
    let (stopwatch, reach) = (&setting.stopwatch, setting.selection.subject_reach());
    setting.inject(FaultStage::Blank, session).await?;
    subject.blank = stopwatch.time(Phase::Blank, blank(setting, session)).await?;
    if reach >= Reach::Bootstrapped {
        subject.bootstrap = stopwatch.time(Phase::Bootstrap, bootstrap(setting, session)).await?;
    }
    if reach >= Reach::Switched {
        let committed = setting.committed().await;
        let clone = session.clone_host(&setting.network, &committed.commit);
        stopwatch.time(Phase::Clone, clone).await?;
        subject.switch = switch(setting, session, Phase::Switch, "switch").await?;
    }
    Ok(())
}

/// Last of all what ends the boot in which everything was recorded, and only where that boot came to be the host.
async fn restart(setting: &Setting<'_>, machine: &mut dyn Machine, session: &mut Session, subject: &mut Subject) {
    if subject.switch.facts().is_none_or(|switch| switch.exit_code != Some(0)) {
        return;
    }
    if setting.selection.needs(Need::Reboot) {
        subject.reboot = lifecycle::observe(Action::Reboot, setting, machine, session).await;
    }
    // A guest that did not come back cannot be asked to shut down.
    let lost = |reboot: &LifecycleObservation| reboot.after.is_none();
    if setting.selection.needs(Need::Resize) && !subject.reboot.facts().is_some_and(lost) {
        subject.resize = lifecycle::observe(Action::Resize, setting, machine, session).await;
    }
}

/// The blank machine, before anything of the host reached it; the observer alone was put into it.
async fn blank(setting: &Setting<'_>, session: &Session) -> Result<Observed<Inventory>, RunError> {
    session.install_observer().await?;
    let secrets = setting.expectations.secrets.values();
    let request = InventoryRequest {
        bootstrap_path: setting.expectations.bootstrap.path.clone(),
        secret_paths: secrets.flat_map(|secret| secret.links.iter().chain([&secret.path]).cloned()).collect(),
    };
    let mut inventory = session.inventory(&request).await?;
    for key in &mut inventory.own_host_keys {
        key.recipient = AgeRecipient::of_ssh(&key.public).ok().map(|recipient| recipient.to_string());
    }
    Ok(Observed::of(inventory))
}

/// Delivers the one secret and looks at it again.
async fn bootstrap(setting: &Setting<'_>, session: &Session) -> Result<Observed<BootstrapObservation>, RunError> {
    let path = &setting.expectations.bootstrap.path;
    let mut delivered = session.deliver_key(&setting.key, path).await?;
    if setting.inject(FaultStage::Bootstrapped, session).await? {
        delivered = session.delivered_key(&setting.key, path).await?;
    }
    Ok(Observed::of(BootstrapObservation { delivered: vec![delivered], preconditions: setting.preconditions() }))
}

async fn switch(
    setting: &Setting<'_>,
    session: &Session,
    phase: Phase,
    unit: &str,
) -> Result<Observed<RebuildObservation>, RunError> {
    let switched = setting.stopwatch.time(phase, rebuild::switch(setting, session, phase, unit)).await?;
    Ok(Observed::of(switched))
}

/// All facts after the switch: one round trip of the observer, the closure's bytes, and the view from outside.
async fn observe(
    setting: &Setting<'_>,
    machine: &dyn Machine,
    session: &Session,
    subject: &mut Subject,
) -> Result<(), RunError> {
    let stopwatch = &setting.stopwatch;
    let since = subject.switch.facts().map_or(0, |switch| switch.started_us);
    let request = observe_request(setting, since);
    // The view from outside goes another way than the guest's commands, so neither waits for the other.
    let endpoint = |port| machine.endpoint(port);
    let (system, (tls, http)) =
        tokio::join!(stopwatch.time(Phase::Observe, session.observe(&request)), probe(setting, &endpoint));
    let mut system = system?;
    (subject.tls, subject.http) = (tls, http);
    if setting.selection.has_family("identity")
        && let Some(running) = system.running_system.clone()
    {
        system.closure = stopwatch.time(Phase::Rehash, session.closure(&running)).await?;
    }
    subject.system = Observed::of(system);
    Ok(())
}

/// Secrets outside their own files, in the guest and in the words that the machine was started with.
async fn leaks(
    setting: &Setting<'_>,
    machine: &dyn Machine,
    session: &Session,
    subject: &mut Subject,
) -> Result<(), RunError> {
    subject.argv = machine.evidence().argv;
    if let Some(known) = setting.known().filter(|_| setting.selection.needs(Need::Leaks)) {
        let request = known.request();
        subject.leaks = Observed::of(setting.stopwatch.time(Phase::Leaks, session.leaks(&request)).await?);
    }
    Ok(())
}

/// Where a port of the machine is reached from the controller.
pub(super) type Endpoint<'e> = &'e (dyn Fn(u16) -> Option<SocketAddr> + Sync);

/// TLS and HTTP, from the controller to the machine's own leased address.
pub(super) async fn probe(
    setting: &Setting<'_>,
    endpoint: Endpoint<'_>,
) -> (Observed<TlsObservation>, Observed<HttpObservation>) {
    if !setting.selection.needs(Need::Tls) && !setting.selection.needs(Need::Http) {
        return Default::default();
    }
    setting
        .stopwatch
        .time(Phase::Probe, async { (probe_tls(setting, endpoint).await, probe_http(setting, endpoint).await) })
        .await
}

async fn probe_tls(setting: &Setting<'_>, endpoint: Endpoint<'_>) -> Observed<TlsObservation> {
    let Some(declared) = &setting.host.tls else {
        return Observed::NotObserved;
    };
    let Some(peer) = endpoint(declared.port) else {
        return Observed::Unavailable { cause: format!("the machine forwards no port {}", declared.port) };
    };
    let leaf = setting.committed().await.leaf.map(CertificateDer::from);
    let names = probe_names(declared, leaf.as_ref());
    // One after another: a peer takes few connections at once.
    let mut observed = tls::probe(peer, &names, &declared.roots, PROBE_LIMIT).await;
    observed.old_versions = refusal::probe_old_versions(peer, &names, PROBE_LIMIT).await;
    observed.unknown_names = vec![refusal::probe_unknown_name(peer, PROBE_LIMIT).await];
    Observed::of(observed)
}

async fn probe_http(setting: &Setting<'_>, endpoint: Endpoint<'_>) -> Observed<HttpObservation> {
    let urls = &setting.expectations.urls;
    if urls.is_empty() {
        return Observed::NotObserved;
    }
    // Every declared URL's port is forwarded; port 0 refuses, which is then what was observed.
    let resolve = |port| endpoint(port).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
    Observed::of(http::probe(urls, resolve, PROBE_LIMIT).await)
}

pub(super) fn observe_request(setting: &Setting<'_>, since_us: u64) -> ObserveRequest {
    let expectations = &setting.expectations;
    let query = |secret: &coldproof_evidence::expectations::ExpectedSecret| SecretQuery {
        path: secret.path.clone(),
        links: secret.links.clone(),
    };
    ObserveRequest {
        hmac_key: setting.hmac_key_hex(),
        secrets: expectations.secrets.iter().map(|(name, secret)| (name.clone(), query(secret))).collect(),
        units: expectations.units.values().map(|unit| unit.unit.clone()).collect(),
        bootstrap_path: expectations.bootstrap.path.clone(),
        checkout: CHECKOUT.to_owned(),
        since_us,
    }
}
