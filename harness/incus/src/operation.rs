//! Background operations of the server.

use std::{collections::BTreeMap, time::Duration};

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
/// The class of what the server does by itself. That of a command waits for somebody who may be dead.
const TASK: &str = "task";

/// An operation, as the server describes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Operation {
    pub(crate) id: String,
    status_code: u16,
    #[serde(default)]
    err: String,
    #[serde(default)]
    pub(crate) metadata: Value,
    #[serde(default)]
    class: String,
    /// What it is about: URLs by kind.
    #[serde(default)]
    resources: Option<BTreeMap<String, Vec<String>>>,
}

impl Operation {
    /// Whether the server still does something to what has this path.
    fn works_on(&self, path: &str) -> bool {
        let urls = self.resources.iter().flat_map(BTreeMap::values).flatten();
        let mut paths = urls.filter_map(|url| url.split('?').next());
        self.class == TASK && self.status_code < ENDED && paths.any(|found| found == path)
    }
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

    /// Waits until the server does nothing any more to what has this path. What a client asked for goes on after its death,
    /// and until then there may be nothing to be seen yet, or nothing to be changed.
    pub(crate) async fn settle(&self, path: &str, deadline: Deadline) -> Result<(), IncusError> {
        let what = format!("wait for what is done to {path}");
        let list = Call::new(Method::GET, "/1.0/operations", &what).query("recursion", "1");
        let listed: Option<BTreeMap<String, Vec<Operation>>> = self.get(list, deadline).await?;
        let listed = listed.unwrap_or_default().into_values().flatten();
        for operation in listed.filter(|operation| operation.works_on(path)) {
            // How it ended, a look at the thing itself tells; so does whether it is forgotten already.
            if let Err(error) = self.wait(&what, &operation, deadline).await {
                tracing::debug!(%error, path, "an operation of somebody's");
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::creation("task", 103, "/1.0/instances/ours?project=p", true)]
    #[case::pending("task", 105, "/1.0/instances/ours", true)]
    #[case::ended("task", 200, "/1.0/instances/ours?project=p", false)]
    #[case::of_another("task", 103, "/1.0/instances/ours-2?project=p", false)]
    #[case::command("websocket", 103, "/1.0/instances/ours?project=p", false)]
    fn only_a_task_that_goes_on_is_waited_for(
        #[case] class: &str,
        #[case] status: u16,
        #[case] url: &str,
        #[case] expected: bool,
    ) {
        let operation = json!({"id": "o", "class": class, "status_code": status, "resources": {"instances": [url]}});
        let operation: Operation = serde_json::from_value(operation).unwrap();
        assert_eq!(operation.works_on("/1.0/instances/ours"), expected);
    }
}
