//! Ctrl-C, SIGTERM and SIGHUP: the work is dropped, and dropping it cleans up.

use std::{future::pending, process, time::Duration};

use anyhow::Result;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::timeout,
};

use crate::{failure::INCONCLUSIVE, output::say};

/// How long dropping the work may take. It takes milliseconds, unless the work blocks the thread that would drop it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much later than its consequences a signal may be heard. Ctrl-C goes to the whole process group, and another thread
/// hears it than the one that sees a program end of it.
const MOMENT: Duration = Duration::from_millis(200);

/// The result of `work`, or none if the user or the system asked to stop first.
///
/// Should the work not let itself be dropped, or should somebody ask a second time, this process ends at once. The
/// reapers of its leases then do what it would have done.
pub(crate) async fn or<T>(work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    let (asked, mut stop) = oneshot::channel();
    // On a thread of its own, so that it hears also while the work blocks this one.
    let listener = tokio::spawn(Signals::handle().wait(asked));
    let result = tokio::select! {
        biased;
        // An error means that nobody can ask, so nobody did.
        Ok(()) = &mut stop => Ok(None),
        result = work => result.map(Some),
    };
    let result = match result {
        Err(error) => match timeout(MOMENT, stop).await {
            Ok(Ok(())) => Ok(None),
            _ => Err(error),
        },
        result => result,
    };
    listener.abort();
    result
}

/// The signals that ask to stop. Those that cannot be handled end the process by default.
struct Signals([Option<Signal>; 3]);

impl Signals {
    fn handle() -> Self {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        Self(kinds.map(|kind| signal(kind).ok()))
    }

    async fn wait(mut self, asked: oneshot::Sender<()>) {
        self.next().await;
        // The receiver is gone only if the work has ended.
        let _ = asked.send(());
        let _ = timeout(PATIENCE, self.next()).await;
        say("coldproof: interrupted; the reapers remove what this run had made");
        process::exit(INCONCLUSIVE.into());
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            () = one_of(interrupt) => (),
            () = one_of(terminate) => (),
            () = one_of(hangup) => (),
        }
    }
}

/// Waits for a signal; for ever if it cannot be handled, as its default action then ends the process.
async fn one_of(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => pending().await,
    }
}
