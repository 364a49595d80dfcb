//! The receipt of a destroyed machine.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::process::ProcessIdentity;

/// What kind of thing a machine left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// The machine's processes.
    Processes,
    /// A control group.
    Cgroup,
    /// A container or an instance of another program or server.
    Remote,
    /// A mount below one of the lease's directories.
    Mount,
    /// A directory with disks, sockets and logs.
    Directory,
    /// The entry in the ledger.
    LedgerEntry,
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processes => "processes",
            Self::Cgroup => "cgroup",
            Self::Remote => "remote",
            Self::Mount => "mount",
            Self::Directory => "directory",
            Self::LedgerEntry => "ledger-entry",
        })
    }
}

/// One thing that was removed, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedResource {
    /// What it is.
    pub kind: ResourceKind,
    /// Its path, or the ids of processes.
    pub name: String,
    /// Whether it is really gone: found by looking after the removal.
    pub gone: bool,
    /// Why it is left, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl ReleasedResource {
    /// What a look found after a removal.
    pub fn looked_for(kind: ResourceKind, name: impl Into<String>, gone: bool) -> Self {
        Self { kind, name: name.into(), gone, reason: None }
    }

    /// How the removal failed, if it did. Where the thing is gone all the same, that says nothing.
    #[must_use]
    pub fn because(self, error: Option<impl ToString>) -> Self {
        let reason = error.filter(|_| !self.gone).map(|error| error.to_string());
        Self { reason, ..self }
    }
}

/// What a lease held, and whether each thing is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destroyed {
    /// The machine's name.
    pub machine: String,
    /// The lease's id.
    pub lease: String,
    /// The processes that were found in the lease, and were ended.
    pub processes: Vec<ProcessIdentity>,
    /// Each thing that the lease held.
    pub resources: Vec<ReleasedResource>,
}

impl Destroyed {
    /// Whether everything is gone. A receipt without resources shows nothing, so it is not clean.
    pub fn is_clean(&self) -> bool {
        !self.resources.is_empty() && self.resources.iter().all(|resource| resource.gone)
    }
}

impl fmt::Display for Destroyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (lease {})", self.machine, self.lease)?;
        for resource in &self.resources {
            let state = if resource.gone { "gone" } else { "LEFT" };
            write!(f, "\n  {state} {:?} {}", resource.kind, resource.name)?;
            if let Some(reason) = &resource.reason {
                write!(f, ": {reason}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_clean_only_if_everything_it_lists_is_gone() {
        let item = |gone| ReleasedResource::looked_for(ResourceKind::Directory, "/d", gone);
        let receipt =
            |resources| Destroyed { machine: "m".into(), lease: "l".into(), processes: Vec::new(), resources };
        assert!(receipt(vec![item(true)]).is_clean());
        assert!(!receipt(vec![item(true), item(false)]).is_clean());
        assert!(!receipt(vec![]).is_clean());
    }

    #[test]
    fn a_receipt_says_why_something_is_left() {
        let looked = |gone| {
            ReleasedResource::looked_for(ResourceKind::Remote, "incus web-1", gone).because(Some("the proxy is down"))
        };
        let receipt = Destroyed {
            machine: "web".into(),
            lease: "l".into(),
            processes: Vec::new(),
            resources: vec![looked(false), looked(true)],
        };
        let expected = "web (lease l)\n  LEFT Remote incus web-1: the proxy is down\n  gone Remote incus web-1";
        assert_eq!(receipt.to_string(), expected);
    }
}
