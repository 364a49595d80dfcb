//! Background operations of the server.

use std::time::Duration;

use coldproof_machines::deadline::Deadline;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    client::{Client, Reply, decode},
    error::{IncusError, explain},
    http::Call,
};

/// How long the server holds one wait open. It cuts a connection that is silent for 30 s.
const ROUND: Duration = Duration::from_secs(20);
/// The status codes from which on an operation has ended: 200 success, 400 failure, 401 cancelled.
const ENDED: u16 = 200;
const SUCCESS: u16 = 200;

/// An operation, as the server describes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Operation {
    pub(crate) id: String,
    status_code: u16,
    #[serde(default)]
    err: String,
    #[serde(default)]
    pub(crate) metadata: Value,
}

impl Client {
    /// Waits until the operation has ended, at most until the deadline, when it goes on without us.
    pub(crate) async fn wait(
        &self,
        what: &str,
        operation: &Operation,
        deadline: Deadline,
    ) -> Result<Value, IncusError> {
        loop {
            let state = self.wait_a_round(what, operation, deadline).await?;
            if let Some(ended) = state.filter(|state| state.status_code >= ENDED) {
                return if ended.status_code == SUCCESS { Ok(ended.metadata) } else { Err(self.failure(what, &ended)) };
            }
            if deadline.has_passed() {
                return Err(IncusError::Deadline { what: what.to_owned() });
            }
        }
    }

    /// One long poll; `None` when the round was over before the operation.
    async fn wait_a_round(
        &self,
        what: &str,
        operation: &Operation,
        deadline: Deadline,
    ) -> Result<Option<Operation>, IncusError> {
        // In whole seconds, and zero would mean not to wait at all.
        let round = ROUND.min(deadline.remaining()).as_secs().max(1);
        let path = format!("/1.0/operations/{}/wait", operation.id);
        let call = Call::new(Method::GET, path, what).query("timeout", round.to_string());
        match self.call(call, deadline).await {
            Ok(Reply::Sync { metadata, .. }) => decode(what, metadata).map(Some),
            Ok(Reply::Async(state)) => Ok(Some(state)),
            Err(IncusError::Refused { reason, .. }) if reason.contains("deadline exceeded") => Ok(None),
            // The server forgets an operation 5 s after its end, and all of them when it restarts.
            Err(IncusError::NotFound { .. }) => Err(IncusError::OperationLost { what: what.to_owned() }),
            Err(error) => Err(error),
        }
    }

    fn failure(&self, what: &str, operation: &Operation) -> IncusError {
        explain(what, &self.server().project, operation.status_code, &operation.err)
    }
}
