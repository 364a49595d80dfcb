//! The mark of a lease's processes.

use std::{os::unix::process::CommandExt as _, process::Command};

use crate::containment::MARK;

/// Marks commands as processes of a lease, so that they and whatever they start are ended before its directories are
/// removed, whoever does that. The default is the mark of no lease.
///
/// For programs of the controller's own, which keep its user and environment; [`Lease::command`](crate::lease::Lease::command)
/// is for programs of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    lease: Option<String>,
}

impl Mark {
    pub(crate) fn of(lease: &str) -> Self {
        Self { lease: Some(lease.to_owned()) }
    }

    /// Marks a command, whose environment is complete. It gets a process group of its own: a terminal sends Ctrl-C to
    /// the whole group of its owner, who shall end it instead of being told that it failed.
    pub fn put_on(&self, command: &mut Command) {
        command.process_group(0);
        if let Some(lease) = &self.lease {
            command.env(MARK, lease);
        }
    }
}
