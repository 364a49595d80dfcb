//! What the tests of one run share: reference worlds and sealed records, each made once by the first test that needs it.
//!
//! A run of a machine takes a minute and a scenario judges it in milliseconds, so all scenarios about the same state of
//! the host look at the same sealed record. What is shared lives in a private directory in RAM, because reference worlds
//! hold keys, and a janitor deletes it when the test run ends, whatever ended it.

mod janitor;
mod once;
mod place;

pub use janitor::dispatch;
pub use once::{OnceError, once};
pub use place::{directory, stage};
