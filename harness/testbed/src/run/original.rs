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
    guest::TransportError,
    ssh_host::{Connection, SshError, SshHost},
};

use super::{
    ErrorKind, Phase, RunError,
    guest::Session,
    setting::{Setting, now_us},
    subject::{Subject, observe_request, probe},
};

/// Looks at the host as far as the selected criteria need, and leaves it as it was. Where there is no way to it, or no
/// longer, what it would have told is unavailable: the repositories and the witness are judged all the same.
pub(super) async fn run(setting: &Setting<'_>, host: &SshHost, mut subject: Subject) -> Result<Subject, RunError> {
    let looked = look(setting, host, &mut subject).await;
    let Err(error) = looked.map_err(|error| of_the_host(error, &host.destination)) else {
        return Ok(subject);
    };
    if error.kind() == ErrorKind::Definition {
        return Err(error);
    }
    let cause = error.to_string();
    setting.stopwatch.note(&cause);
    unless_observed(&mut subject.system, &cause);
    unless_observed(&mut subject.original, &cause);
    unless_observed(&mut subject.tls, &cause);
    unless_observed(&mut subject.http, &cause);
    Ok(subject)
}

/// A connection that ends says of a machine of ours that it is gone; of this host, which it is to be named with, nothing.
fn of_the_host(error: RunError, destination: &str) -> RunError {
    let destination = destination.to_owned();
    match error {
        RunError::Transport(TransportError::Lost { reason }) => SshError::Lost { destination, reason }.into(),
        RunError::Transport(TransportError::Deadline { .. }) => SshError::Late { destination }.into(),
        other => other,
    }
}

fn unless_observed<T>(observed: &mut Observed<T>, cause: &str) {
    if matches!(observed, Observed::NotObserved) {
        *observed = Observed::Unavailable { cause: cause.to_owned() };
    }
}

/// From outside only once there is a connection: where that is cut off, no answer of a port says anything of the host.
async fn look(setting: &Setting<'_>, host: &SshHost, subject: &mut Subject) -> Result<(), RunError> {
    let mark = setting.lease.mark();
    let needed = |needs: [Need; 2]| needs.into_iter().any(|need| setting.selection.needs(need));
    let outside = if needed([Need::Tls, Need::Http]) { Some(host.address(&mark).await?) } else { None };
    let deadline = Deadline::after(setting.host.machine.deadline.into());
    let connecting = Connection::open(host, &setting.work, &mark, deadline);
    let connection = if needed([Need::System, Need::Original]) {
        Some(setting.stopwatch.time(Phase::Boot, connecting).await?)
    } else {
        None
    };
    if let Some(address) = outside {
        let endpoint = |port| Some(SocketAddr::new(address, port));
        (subject.tls, subject.http) = probe(setting, &endpoint).await;
    }
    let Some(connection) = connection else { return Ok(()) };
    let observer = format!("{}/observer", connection.directory());
    let looked = look_inside(setting, &Session { guest: connection.guest(), deadline, observer }).await;
    let closing = connection.close(&host.destination, setting.lease.id(), deadline);
    match setting.stopwatch.time(Phase::Teardown, closing).await {
        Ok(receipt) => subject.receipt = Some(receipt),
        Err(error) => subject.unseen_end = Some(error.to_string()),
    }
    let (system, original) = looked?;
    (subject.system, subject.original) = (Observed::of(system), Observed::of(original));
    Ok(())
}

/// What is seen from inside.
async fn look_inside(
    setting: &Setting<'_>,
    session: &Session,
) -> Result<(SystemObservation, OriginalObservation), RunError> {
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
