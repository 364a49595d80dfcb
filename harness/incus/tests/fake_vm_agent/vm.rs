//! The one virtual machine of the fake server, and what its agent does.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::guest::Guest;

/// What becomes of the agent that runs commands in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    /// It comes up after so many looks at the machine's state.
    After(u32),
    /// The image has none.
    Never,
    /// The guest powers itself off at the first look.
    Panic,
}

/// How the server tells of an agent that goes away during a command, which depends on its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HangUp {
    /// 6.0: as a failure, in one word.
    Words,
    /// Later: as the status of a hang-up.
    Status,
}

/// A refusal: the code and the words of the real server.
pub(crate) type Refusal = (u16, String);

/// A virtual machine.
pub(crate) struct Vm {
    pub(crate) name: String,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) guest: Option<Guest>,
    agent: Agent,
    looks: u32,
    /// Whether the server is between the stop and the start that a reboot is to it.
    reboots: bool,
}

impl Vm {
    pub(crate) fn new(body: &Value, agent: Agent) -> anyhow::Result<Self> {
        anyhow::ensure!(body["type"] == "virtual-machine", "only virtual machines are played: {body}");
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        let config = serde_json::from_value(body["config"].clone())?;
        Ok(Self { name, config, guest: None, agent, looks: 0, reboots: false })
    }

    /// Whether it runs. A guest may have ended by itself.
    pub(crate) fn runs(&mut self) -> anyhow::Result<bool> {
        if let Some(guest) = &mut self.guest
            && guest.has_ended()?
        {
            self.guest = None;
        }
        Ok(self.guest.is_some())
    }

    pub(crate) fn has_agent(&self) -> bool {
        matches!(self.agent, Agent::After(looks) if self.looks >= looks)
    }

    pub(crate) fn lose_agent(&mut self) {
        self.agent = Agent::Never;
    }

    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        (self.guest, self.looks) = (Some(Guest::start().await?), 0);
        Ok(())
    }

    pub(crate) async fn stop(&mut self, force: bool) -> anyhow::Result<()> {
        let Some(mut guest) = self.guest.take() else { return Ok(()) };
        if force { guest.kill().await } else { guest.ended().await }
    }

    /// Its guest reboots, which the server makes a stop and a start of.
    pub(crate) async fn reboot(&mut self) -> anyhow::Result<()> {
        self.reboots = true;
        self.stop(true).await
    }

    /// Whether it may be deleted now.
    pub(crate) async fn delete(&mut self) -> anyhow::Result<Result<(), Refusal>> {
        if std::mem::take(&mut self.reboots) {
            self.start().await?;
            return Ok(Err((500, "Instance is busy running a \"restart\" operation".to_owned())));
        }
        Ok(if self.runs()? { Err((500, "Instance is running".to_owned())) } else { Ok(()) })
    }

    /// Its description, and the ETag of that.
    pub(crate) fn describe(&mut self) -> anyhow::Result<(Value, String)> {
        let status = if self.runs()? { "Running" } else { "Stopped" };
        let config = json!(self.config);
        let etag = hex::encode(Sha256::digest(config.to_string()));
        let kind = "virtual-machine";
        let described =
            json!({"name": self.name, "type": kind, "status": status, "config": config, "expanded_config": config});
        Ok((described, etag))
    }

    /// What is known of it while it runs. Number of processes, memory and addresses are the agent's to say.
    pub(crate) async fn look(&mut self) -> anyhow::Result<Value> {
        if self.agent == Agent::Panic {
            self.stop(true).await?;
        }
        if !self.runs()? {
            return Ok(json!({"status": "Stopped", "processes": 0, "network": null}));
        }
        let known = self.has_agent();
        self.looks += 1;
        if !known {
            return Ok(json!({"status": "Running", "processes": -1, "memory": {}, "network": {}}));
        }
        let address = |address: &str, scope: &str| json!({"family": "inet", "address": address, "scope": scope});
        Ok(json!({
            "status": "Running", "processes": 7, "memory": {"usage": 300 << 20, "usage_peak": 0},
            "network": {"lo": {"addresses": [address("127.0.0.1", "local")]},
                        "enp5s0": {"addresses": [address("10.9.8.7", "global")]}}
        }))
    }

    pub(crate) fn change(&mut self, etag: &str, config: &Value) -> anyhow::Result<Result<(), Refusal>> {
        if self.describe()?.1 != etag {
            return Ok(Err((412, "Precondition failed".to_owned())));
        }
        if self.runs()? {
            return Ok(Err((500, "Cannot increase memory size beyond boot time size when VM is running".to_owned())));
        }
        self.config.extend(serde_json::from_value::<BTreeMap<String, String>>(config.clone())?);
        Ok(Ok(()))
    }
}
