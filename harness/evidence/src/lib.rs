//! Plain data of a proof: observations, findings, bundles and digests.
//!
//! Nothing here judges and nothing here does I/O, but for [`bundle`], which reads and writes the directory that
//! carries a proof from the run that recorded it to whoever judges it again. Everything is serialisable, holds no
//! secret (secrets appear only as keyed hashes) and depends on no other crate of the project.

pub mod budget;
pub mod builds;
pub mod bundle;
pub mod credentials;
pub mod deprived;
pub mod digest;
pub mod expectations;
pub mod finding;
pub mod guest;
pub mod leaks;
pub mod lifecycle;
pub mod ordering;
pub mod rebuild;
pub mod record;
pub mod request;
pub mod served;
pub mod source;
pub mod starts;
pub mod swarm;

pub use digest::Digest;
pub use expectations::Expectations;
pub use finding::{Finding, Mismatch, Outcome};
pub use record::{Observed, Record};
