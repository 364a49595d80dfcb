//! Ctrl-C and SIGTERM: the work is dropped, and dropping it cleans up.

use tokio::signal::unix::{SignalKind, signal};

/// The result of `work`, or none if the user or the system asked to stop first.
pub(crate) async fn or<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        () = asked_to_stop() => None,
    }
}

async fn asked_to_stop() {
    let listen = |kind| async move {
        match signal(kind) {
            Ok(mut stream) => stream.recv().await,
            // Without a handler the signal's default action ends the process, and the reaper cleans up.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = listen(SignalKind::interrupt()) => (),
        _ = listen(SignalKind::terminate()) => (),
        _ = listen(SignalKind::hangup()) => (),
    }
}
