//! Probes against servers of this process.

mod authority;
mod http;
mod names;
mod refusal;
mod server;
mod tls;

use std::time::Duration;

/// Long enough for anything that answers at all.
const PATIENT: Duration = Duration::from_secs(20);
/// Short enough to wait for in vain.
const HASTY: Duration = Duration::from_millis(300);
