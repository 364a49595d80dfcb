//! What the engine's answers hold that is looked at (Docker Engine API, ServiceList and TaskList).

use std::collections::BTreeMap;

use coldproof_evidence::{Digest, swarm::SwarmService};
use serde::Deserialize;
use serde_json::Value;

use super::engine::EngineError;

/// The label by which a service belongs to a stack.
const STACK: &str = "com.docker.stack.namespace";
/// As much of an error as a person reads.
const LONGEST_MESSAGE: usize = 400;

/// One service.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Service {
    #[serde(rename = "ID")]
    id: String,
    spec: Value,
    service_status: Option<ServiceStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceStatus {
    running_tasks: u64,
    desired_tasks: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Specification {
    name: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Service {
    pub(super) fn observed(self) -> Result<SwarmService, EngineError> {
        let json = |source| EngineError::Json { path: super::SERVICES, source };
        // Only its digest leaves the guest: a service's environment may hold what is nobody else's business.
        let specification = Digest::of(serde_json::to_vec(&self.spec).map_err(json)?);
        let Specification { name, labels } = serde_json::from_value(self.spec).map_err(json)?;
        let Some(status) = self.service_status else { return Err(EngineError::NoCount(name)) };
        Ok(SwarmService {
            stack: labels.unwrap_or_default().remove(STACK),
            name,
            id: self.id,
            specification,
            running: status.running_tasks,
            desired: status.desired_tasks,
            last_error: None,
        })
    }
}

/// One task, running or not.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Task {
    #[serde(rename = "ServiceID")]
    service_id: String,
    version: Version,
    status: TaskStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskStatus {
    #[serde(default)]
    err: String,
}

impl Task {
    /// Grows with each change of any task.
    pub(super) const fn version(&self) -> u64 {
        self.version.index
    }

    /// The service's id and the task's error, if it has one.
    pub(super) fn error(self) -> Option<(String, String)> {
        let error = shortened(self.status.err);
        (!error.is_empty()).then_some((self.service_id, error))
    }
}

/// What the engine says in an answer that is none.
pub(super) fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let message = serde_json::from_slice(body).map(|Message { message }| message);
    shortened(message.unwrap_or_else(|_| String::from_utf8_lossy(body).trim().to_owned()))
}

fn shortened(text: String) -> String {
    if text.chars().count() <= LONGEST_MESSAGE {
        text
    } else {
        text.chars().take(LONGEST_MESSAGE).chain(['…']).collect()
    }
}
