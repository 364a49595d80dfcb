//! What can go wrong between us and a server: the problem, then the remedy.

use std::path::PathBuf;

/// A request to an Incus server, or one of its operations, did not succeed.
///
/// None of these says anything about a guest: whoever judges takes them for infrastructure
/// trouble, so what was to be observed is inconclusive.
#[derive(Debug, thiserror::Error)]
pub enum IncusError {
    /// A setting of the provider cannot be used.
    #[error("{setting}: {problem}; {remedy}")]
    Setting {
        /// Its name in the host definition.
        setting: &'static str,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The proxy takes no connection.
    #[error("the SOCKS5 proxy {proxy} takes no connection ({reason}); start it, or correct `proxy`")]
    ProxyDown {
        /// `host:port`.
        proxy: String,
        /// The operating system's words.
        reason: String,
    },
    /// The server takes no connection.
    #[error("{server} is not reached{} ({reason}); see that incusd runs and listens there",
        .proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default())]
    Unreachable {
        /// `host:port`.
        server: String,
        /// The proxy, if one is used.
        proxy: Option<String>,
        /// What the operating system or the proxy says.
        reason: String,
    },
    /// The connection ended before the answer.
    #[error(
        "the connection to {server} was cut during {what} ({reason}); \
         see that the server and the proxy still run, then start again"
    )]
    Cut {
        /// `host:port`.
        server: String,
        /// The request.
        what: String,
        /// What the transport says.
        reason: String,
    },
    /// The server is another one than was named.
    #[error(
        "{server} is not the server that was named: {reason}; \
         if its certificate was renewed on purpose, write the new fingerprint (`incus info` shows it on the server)"
    )]
    ServerIdentity {
        /// `host:port`.
        server: String,
        /// Why it is not believed.
        reason: String,
    },
    /// Our own certificate has run out. The server does not say so; we looked.
    #[error(
        "the client certificate {} expired {since}, and the server refuses it; make a new one and add it with \
         `incus config trust add-certificate FILE --restricted --projects {project}`", path.display()
    )]
    CertificateExpired {
        /// The certificate's file.
        path: PathBuf,
        /// Its `notAfter`.
        since: String,
        /// The project that it is for.
        project: String,
    },
    /// The server took our certificate before, and does not any longer.
    #[error(
        "the server took the client certificate {} before and refuses it now: it was revoked; \
         ask the server's administrator, who can add it again", path.display()
    )]
    CertificateRevoked {
        /// The certificate's file.
        path: PathBuf,
    },
    /// The server does not know our certificate.
    #[error(
        "the server does not trust the client certificate {} (SHA-256 {fingerprint}); add it with \
         `incus config trust add-certificate FILE --restricted --projects {project}`", path.display()
    )]
    Untrusted {
        /// The certificate's file.
        path: PathBuf,
        /// The first digits of its fingerprint, as `incus config trust list` shows them.
        fingerprint: String,
        /// The project that it is for.
        project: String,
    },
    /// The project is not there, or not for us.
    #[error(
        "the project `{project}` does not exist or is not open to this certificate; correct `project`, or let the \
         server's administrator open it with `incus config trust edit` ({reason})"
    )]
    WrongProject {
        /// The project.
        project: String,
        /// The server's words.
        reason: String,
    },
    /// A limit of the project is reached.
    #[error("the project's limits do not allow {what}: {reason}; make the machine smaller or end another one")]
    Limit {
        /// The request.
        what: String,
        /// The server's words.
        reason: String,
    },
    /// What the project is restricted from.
    #[error("the project does not permit {what}: {reason}; let its administrator allow it (docs/incus.md)")]
    Restricted {
        /// The request.
        what: String,
        /// The server's words.
        reason: String,
    },
    /// The image is not on the server.
    #[error("the image `{image}` is not on the server ({reason}); import it, or correct `image`")]
    ImageMissing {
        /// Fingerprint or alias.
        image: String,
        /// The server's words.
        reason: String,
    },
    /// There is another instance of this name, which is not ours.
    #[error("an instance `{name}` exists already and is not ours, so it was left alone; {remedy}")]
    NameTaken {
        /// The instance's name.
        name: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The storage pool is full.
    #[error("the server's storage pool is full ({reason}); remove images or instances, or make the pool larger")]
    DiskFull {
        /// The server's words.
        reason: String,
    },
    /// The machine would not fit.
    #[error("{0}")]
    OverBudget(String),
    /// The server forgot an operation, as it was restarted meanwhile.
    #[error("the server forgot {what}, as when it was restarted meanwhile; start again")]
    OperationLost {
        /// What the operation did.
        what: String,
    },
    /// Something else changed the instance in between.
    #[error("{what}: somebody else changed it at the same time; start again")]
    Conflict {
        /// The request.
        what: String,
    },
    /// There is no such thing.
    #[error("{what}: it does not exist ({reason}); it may have been removed by somebody else")]
    NotFound {
        /// The request.
        what: String,
        /// The server's words.
        reason: String,
    },
    /// The deadline passed.
    #[error("{what} did not end before its deadline; allow more time, or look at the server's load")]
    Deadline {
        /// The request.
        what: String,
    },
    /// A virtual machine's agent, which runs commands and moves files for the server, is not there or went away.
    #[error(
        "{what}: the virtual machine's agent does not answer ({reason}); see in its console log what became of it, \
         and that its image runs incus-agent"
    )]
    Agent {
        /// The request.
        what: String,
        /// The server's words.
        reason: String,
    },
    /// The server says no in its own words.
    #[error("the server refused to {what}: {reason} (code {code}); see the server's log")]
    Refused {
        /// The request.
        what: String,
        /// The server's words.
        reason: String,
        /// The server's code, an HTTP status.
        code: u16,
    },
    /// The answer is none of Incus's.
    #[error("the answer to {what} cannot be read ({reason}); see that `url` is an Incus server's")]
    Protocol {
        /// The request.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl IncusError {
    /// Whether the way to the server was lost, so that nothing is known about what it did.
    #[must_use]
    pub fn lost_the_server(&self) -> bool {
        matches!(
            self,
            Self::ProxyDown { .. } | Self::Unreachable { .. } | Self::Cut { .. } | Self::OperationLost { .. }
        )
    }
}

/// The error that the server's words mean. Incus uses the code 500 for much that is not its
/// fault, so the words decide.
pub(crate) fn explain(what: &str, project: &str, code: u16, reason: &str) -> IncusError {
    let (what, words) = (what.to_owned(), reason.to_owned());
    let says = |any: &[&str]| any.iter().any(|part| reason.contains(part));
    if says(&["does not have permissions for project", "Project not found", "Failed to fetch project"]) {
        return IncusError::WrongProject { project: project.to_owned(), reason: words };
    }
    if says(&["Reached maximum"]) {
        return IncusError::Limit { what, reason: words };
    }
    if says(&["forbidden", "not allowed in project", "is not allowed"]) {
        return IncusError::Restricted { what, reason: words };
    }
    if says(&["No space left on device", "Disk quota exceeded", "disk quota exceeded"]) {
        return IncusError::DiskFull { reason: words };
    }
    // The second is all that is said of an agent that goes away during a command.
    if says(&["agent isn't currently running"]) || reason == "Disconnected" {
        return IncusError::Agent { what, reason: words };
    }
    match code {
        404 => IncusError::NotFound { what, reason: words },
        412 => IncusError::Conflict { what },
        _ => IncusError::Refused { what, reason: words, code },
    }
}

/// Whether the server says that the name is in use. It finds out late, in the operation.
pub(crate) fn says_name_taken(error: &IncusError) -> bool {
    let IncusError::Refused { reason, .. } = error else { return false };
    reason.contains("UNIQUE constraint failed") || (reason.contains("already exists") && reason.contains("nstance"))
}

/// Whether the server says that it is doing something to the instance already.
pub(crate) fn says_busy(error: &IncusError) -> bool {
    matches!(error, IncusError::Refused { reason, .. } if reason.contains("nstance is busy"))
}

/// Whether the server says that it does not have an image.
pub(crate) fn says_image_missing(error: &IncusError) -> bool {
    let (IncusError::Refused { reason, .. } | IncusError::NotFound { reason, .. }) = error else { return false };
    reason.to_lowercase().contains("image")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::project(500, r#"User does not have permissions for project "x""#, "the project `p`")]
    #[case::limit(500, r#"Reached maximum aggregate value "8GiB" for "limits.memory" in project "p""#, "limits")]
    #[case::disk(400, "write /x: no such: No space left on device", "pool is full")]
    #[case::agent(400, "VM agent isn't currently running", "incus-agent")]
    #[case::agent_lost(400, "Disconnected", "console log")]
    #[case::gone(404, "Instance not found", "does not exist")]
    #[case::stale(412, "Precondition failed", "at the same time")]
    #[case::other(500, "out of cheese", "out of cheese")]
    fn words_decide(#[case] code: u16, #[case] reason: &str, #[case] expected: &str) {
        let error = explain("create", "p", code, reason).to_string();
        assert!(error.contains(expected), "{error}");
    }
}
