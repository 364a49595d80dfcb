//! The way to a Docker engine.

use std::{env, io, path::Path};

use coldproof_machines::provider::ProvisionError;
use testcontainers::bollard::{API_DEFAULT_VERSION, Docker, errors::Error};

/// How long the engine may take for one answer.
const LIMIT_SECONDS: u64 = 120;
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// There is no engine that would make machines.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nobody listens there.
    #[error(
        "no Docker engine answers at {host}: {reason}; start one (`systemctl start docker`, after `apt-get install \
         docker.io` on Debian), or point DOCKER_HOST at one"
    )]
    Absent {
        /// Where it was looked for.
        host: String,
        /// What was said.
        reason: String,
    },
    /// The socket belongs to others.
    #[error(
        "the Docker engine at {host} may not be used by this user; add the user to the group `docker`, or run as root"
    )]
    Forbidden {
        /// Where it is.
        host: String,
    },
    /// It answers, and refuses.
    #[error("the Docker engine: {what}: {reason}")]
    Refused {
        /// What it was asked for.
        what: String,
        /// Its words.
        reason: String,
    },
}

impl EngineError {
    pub(crate) fn refused(what: impl Into<String>) -> impl FnOnce(Error) -> Self {
        let what = what.into();
        move |error| Self::Refused { what, reason: error.to_string() }
    }
}

impl From<EngineError> for ProvisionError {
    fn from(error: EngineError) -> Self {
        let text = error.to_string();
        match (&error, text.split_once("; ")) {
            (EngineError::Absent { .. } | EngineError::Forbidden { .. }, Some((problem, remedy))) => {
                Self::Unmet { problem: problem.to_owned(), remedy: remedy.to_owned() }
            }
            _ => Self::Start { reason: text },
        }
    }
}

/// Where the engine is: `DOCKER_HOST`, or the usual socket.
pub(crate) fn host() -> String {
    env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_HOST.to_owned())
}

/// Connects to the engine at `host`, and speaks the version of the interface that it does.
pub(crate) async fn connect(host: &str) -> Result<Docker, EngineError> {
    let absent = |reason: String| EngineError::Absent { host: host.to_owned(), reason };
    if let Some(socket) = host.strip_prefix("unix://") {
        // The client would only say that it could not connect.
        match std::os::unix::net::UnixStream::connect(Path::new(socket)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(EngineError::Forbidden { host: host.to_owned() });
            }
            Err(error) => return Err(absent(error.to_string())),
        }
    }
    let docker = if host.starts_with("unix://") {
        Docker::connect_with_unix(host, LIMIT_SECONDS, API_DEFAULT_VERSION)
    } else {
        Docker::connect_with_http(host, LIMIT_SECONDS, API_DEFAULT_VERSION)
    };
    let docker = docker.map_err(|error| absent(error.to_string()))?;
    docker.negotiate_version().await.map_err(|error| absent(error.to_string()))
}
