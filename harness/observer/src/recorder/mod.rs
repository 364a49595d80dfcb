//! The recorder: runs the rebuild once and writes down what can only be seen while it runs.
//!
//! It talks to nobody but systemd. Whoever started it may go away and come back: it writes its progress and, at the
//! end, its result into files, each of which is there completely or not at all.

mod control_group;
mod files;
mod jobs;
mod journal_line;
mod memory;
mod output;
mod process;
mod run;
mod usage;
mod wait;

pub(crate) use run::record;
pub(crate) use wait::wait;
