//! Ctrl-C, SIGTERM and SIGHUP: the work is dropped, and dropping it cleans up.

use std::{future::pending, process, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

use crate::{failure::INCONCLUSIVE, output::say};

/// How long dropping the work may take. It takes milliseconds, unless the work blocks the thread that would drop it.
const PATIENCE: Duration = Duration::from_secs(2);

/// The result of `work`, or none if the user or the system asked to stop first.
///
/// Should the work not let itself be dropped, or should somebody ask a second time, this process ends at once. The
/// reapers of its leases then do what it would have done.
pub(crate) async fn or<T>(work: impl Future<Output = T>) -> Option<T> {
    let (asked, stop) = oneshot::channel();
    // On a thread of its own, so that it hears also while the work blocks this one.
    let listener = tokio::spawn(listen(asked));
    let result = tokio::select! {
        biased;
        // An error means that nobody can ask, so nobody did.
        Ok(()) = stop => None,
        result = work => Some(result),
    };
    listener.abort();
    result
}

async fn listen(asked: oneshot::Sender<()>) {
    let listen = |kind| signal(kind).ok();
    let mut interrupt = listen(SignalKind::interrupt());
    let mut terminate = listen(SignalKind::terminate());
    let mut hangup = listen(SignalKind::hangup());
    let mut next = async || {
        tokio::select! {
            () = one_of(&mut interrupt) => (),
            () = one_of(&mut terminate) => (),
            () = one_of(&mut hangup) => (),
        }
    };
    next().await;
    // The receiver is gone only if the work has ended.
    let _ = asked.send(());
    let _ = timeout(PATIENCE, next()).await;
    say("coldproof: interrupted; the reapers remove what this run had made");
    process::exit(INCONCLUSIVE.into());
}

/// Waits for a signal; for ever if it cannot be handled, as its default action then ends the process.
async fn one_of(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}
