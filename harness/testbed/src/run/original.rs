//! A host that is there already: it is looked at as a subject is after its switch, and nothing is done to it.
//!
//! The observer is the one thing that is put there, into a directory in RAM that goes away with the connection.

use std::net::SocketAddr;

use coldproof_criteria::Need;
use coldproof_evidence::{
    Observed,
    guest::{OriginalObservation, SystemObservation},
};
use coldproof_machines::{
    deadline::Deadline,
    ssh_host::{Connection, SshHost},
};

use super::{
    Phase, RunError,
    guest::Session,
    setting::{Setting, now_us},
    subject::{Subject, observe_request, probe},
};

/// Looks at the host as far as the selected criteria need, and leaves it as it was.
pub(super) async fn run(setting: &Setting<'_>, host: &SshHost, mut subject: Subject) -> Result<Subject, RunError> {
    let mark = setting.lease.mark();
    let needed = |needs: [Need; 2]| needs.into_iter().any(|need| setting.selection.needs(need));
    if needed([Need::Tls, Need::Http]) {
        let address = host.address(&mark).await?;
        let endpoint = |port| Some(SocketAddr::new(address, port));
        (subject.tls, subject.http) = probe(setting, &endpoint).await;
    }
    if needed([Need::System, Need::Original]) {
        let deadline = Deadline::after(setting.host.machine.deadline.into());
        let connecting = Connection::open(host, &setting.work, &mark, deadline);
        let connection = setting.stopwatch.time(Phase::Boot, connecting).await?;
        let observer = format!("{}/observer", connection.directory());
        let looked = look(setting, &Session { guest: connection.guest(), deadline, observer }).await;
        let closing = connection.close(&host.destination, setting.lease.id(), deadline);
        subject.receipt = Some(setting.stopwatch.time(Phase::Teardown, closing).await);
        let (system, original) = looked?;
        (subject.system, subject.original) = (Observed::of(system), Observed::of(original));
    }
    Ok(subject)
}

/// What is seen from inside.
async fn look(setting: &Setting<'_>, session: &Session) -> Result<(SystemObservation, OriginalObservation), RunError> {
    session.install_observer().await?;
    // What its journal tells of the time before is no business of this proof.
    let request = observe_request(setting, now_us());
    let system = setting.stopwatch.time(Phase::Observe, session.observe(&request)).await?;
    let mut original = OriginalObservation {
        running_system: system.running_system.clone(),
        profile_system: system.profile_system.clone(),
        closure: Vec::new(),
    };
    if setting.selection.needs(Need::Original)
        && let Some(running) = &system.running_system
    {
        original.closure = match setting.stopwatch.time(Phase::Rehash, session.closure(running)).await {
            // What Nix knows nothing of has no closure, and is still not what git builds.
            Err(RunError::Guest { .. }) => Vec::new(),
            closure => closure?,
        };
    }
    Ok((system, original))
}
