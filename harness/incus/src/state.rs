//! Starting, stopping and looking at a running instance.

use std::{collections::BTreeMap, net::IpAddr};

use coldproof_machines::deadline::Deadline;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::{
    client::Client,
    error::IncusError,
    http::Call,
    instance::{is_up, path},
};

/// What the server knows of a running instance.
#[derive(Debug, Clone, Deserialize)]
pub struct InstanceState {
    /// `Running`, `Ready`, `Stopped`…
    pub status: String,
    /// The number of its processes; −1 while a virtual machine's agent is not up.
    #[serde(default)]
    pub processes: i64,
    /// What it holds in memory.
    #[serde(default)]
    pub memory: MemoryState,
    #[serde(default)]
    network: Option<BTreeMap<String, NetworkState>>,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct MemoryState {
    /// In use.
    #[serde(default)]
    pub usage: u64,
    /// The most that was in use since it started.
    #[serde(default)]
    pub usage_peak: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct NetworkState {
    addresses: Vec<AddressState>,
}

#[derive(Debug, Clone, Deserialize)]
struct AddressState {
    address: IpAddr,
    scope: String,
}

impl InstanceState {
    /// The addresses that others can reach: neither loopback nor link-local.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let cards = self.network.iter().flat_map(BTreeMap::values);
        cards.flat_map(|card| &card.addresses).filter(|a| a.scope == "global").map(|a| a.address).collect()
    }

    /// Whether it is on, booting included.
    pub fn is_up(&self) -> bool {
        is_up(&self.status)
    }

    /// Whether commands can be run: a container's always can while it runs, a virtual machine's
    /// once its agent is up.
    pub fn takes_commands(&self) -> bool {
        matches!(self.status.as_str(), "Running" | "Ready") && self.processes > 0
    }
}

impl Client {
    /// Starts an instance; returns when it runs, which is before its guest has booted.
    ///
    /// # Errors
    /// [`IncusError`]; of a container, with what its log says.
    pub async fn start(&self, name: &str, deadline: Deadline) -> Result<(), IncusError> {
        match self.change_state(name, "start", false, deadline).await {
            Err(IncusError::Refused { what, reason, code }) => {
                // A virtual machine has no such log: of it, the server says itself what is wrong.
                let call =
                    Call::new(Method::GET, format!("{}/logs/lxc.log", path(name)), format!("read the log of {name}"));
                let log = self.bytes(call, deadline).await.unwrap_or_default();
                let cause = first_error(&String::from_utf8_lossy(&log)).map(|cause| format!(" ({cause})"));
                Err(IncusError::Refused { what, reason: reason + &cause.unwrap_or_default(), code })
            }
            result => result,
        }
    }

    /// Stops an instance: with `force` as it is, otherwise by asking its guest. A container whose init is not
    /// systemd itself is asked by SIGPWR, which systemd ignores: then tell the guest first.
    ///
    /// # Errors
    /// [`IncusError`].
    pub async fn stop(&self, name: &str, force: bool, deadline: Deadline) -> Result<(), IncusError> {
        self.change_state(name, "stop", force, deadline).await
    }

    pub(crate) async fn change_state(
        &self,
        name: &str,
        action: &str,
        force: bool,
        deadline: Deadline,
    ) -> Result<(), IncusError> {
        // In whole seconds; −1 is for ever. A server must give up before we do.
        let timeout = if force { -1 } else { i64::try_from(deadline.remaining().as_secs()).unwrap_or(-1).max(1) };
        let call = Call::new(Method::PUT, format!("{}/state", path(name)), format!("{action} the instance {name}"));
        self.run(call.json(&json!({"action": action, "force": force, "timeout": timeout})), deadline).await.map(drop)
    }

    /// What the server knows of the instance now.
    ///
    /// # Errors
    /// [`IncusError`].
    pub async fn state(&self, name: &str, deadline: Deadline) -> Result<InstanceState, IncusError> {
        self.get(Call::new(Method::GET, format!("{}/state", path(name)), format!("look at {name}")), deadline).await
    }

    /// Everything that the guest wrote to its console, as far as the server keeps it.
    ///
    /// # Errors
    /// [`IncusError`].
    pub async fn console_log(&self, name: &str, deadline: Deadline) -> Result<Vec<u8>, IncusError> {
        let call = Call::new(Method::GET, format!("{}/console", path(name)), format!("read the console log of {name}"));
        Ok(self.bytes(call, deadline).await?.to_vec())
    }
}

/// The first error of a container's log, whose lines are `lxc NAME TIME LEVEL MODULE - PLACE - MESSAGE`; later ones follow
/// from it.
fn first_error(log: &str) -> Option<&str> {
    let error = log.lines().find(|line| line.split_whitespace().any(|word| word == "ERROR"))?;
    error.splitn(3, " - ").nth(2)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::wanted(
        "lxc p_c 20261130031559.638 WARN     cgfsng - ../src/lxc/cgroups/cgfsng.c:fchowmodat:1619 - No such file\n\
         lxc p_c 20261130031559.680 ERROR    start - ../src/lxc/start.c:start:2197 - Permission denied - Could not access /x\n\
         lxc p_c 20261130031559.680 ERROR    sync - ../src/lxc/sync.c:sync_wait:34 - An error occurred in another process\n",
        Some("Permission denied - Could not access /x")
    )]
    #[case::none(
        "lxc p_c 20261130031559.638 WARN     cgfsng - ../src/lxc/cgroups/cgfsng.c:fchowmodat:1619 - No such file\n",
        None
    )]
    #[case::cut("lxc p_c 20261130031559.680 ERROR", None)]
    fn the_cause_is_the_first_error(#[case] log: &str, #[case] expected: Option<&str>) {
        assert_eq!(first_error(log), expected);
    }
}
