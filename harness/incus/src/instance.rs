//! Instances: made, looked at and removed.

use std::{collections::BTreeMap, time::Duration};

use coldproof_machines::deadline::Deadline;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    client::{Client, Reply, decode, segment, unreadable},
    error::{IncusError, says_busy, says_image_missing, says_name_taken},
    http::Call,
    mark::Mark,
};

/// How long is waited before an instance is removed that is rebooting. The server announces no end of that.
const BETWEEN_REMOVALS: Duration = Duration::from_millis(200);

/// What kind of instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceType {
    /// A machine with a kernel of its own.
    #[default]
    VirtualMachine,
    /// A system container on the server's kernel.
    Container,
}

/// What an instance starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An image by its fingerprint, or the beginning of one.
    Fingerprint(String),
    /// An image by its alias.
    Alias(String),
    /// Another instance of the project; with a snapshot's name as `instance/snapshot`, that.
    Copy(String),
}

/// What an instance is to be. It gets no profile, so that it has what is written here and
/// nothing else; above all no network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSpec {
    /// Letters, digits and dashes, 63 at most.
    pub name: String,
    /// Virtual machine or container.
    pub kind: InstanceType,
    /// Image, or instance to copy.
    pub source: Source,
    /// Memory in bytes.
    pub memory: u64,
    /// Processors.
    pub cpus: u32,
    /// The storage pool of the root disk.
    pub pool: String,
    /// Size of the root disk in bytes; the image's own where none is named.
    pub disk: Option<u64>,
    /// cloud-init user-data. Others can read it: it is no place for a secret.
    pub user_data: Option<String>,
    /// More configuration keys, such as `security.nesting`.
    pub config: BTreeMap<String, String>,
    /// Whose it is.
    pub mark: Mark,
}

/// An instance as the server lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct Instance {
    /// Its name, unique in the project.
    pub name: String,
    /// `Running`, `Ready`, `Stopped`, `Error`…
    pub status: String,
    /// Its own configuration.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
    /// Its configuration with that of its profiles.
    #[serde(default)]
    pub expanded_config: BTreeMap<String, String>,
    /// `virtual-machine` or `container`.
    #[serde(rename = "type")]
    pub kind: InstanceType,
    /// When it was made, and when it was started last: together they tell it from another one of its name.
    #[serde(default)]
    pub created_at: String,
    /// When it was started last.
    #[serde(default)]
    pub last_used_at: String,
}

impl Instance {
    /// The marks that we left, if it is one of ours.
    pub fn mark(&self) -> Option<Mark> {
        Mark::read(&self.config)
    }

    /// Whether it takes memory. A guest that says so itself is `Ready`, and runs as well.
    pub fn is_up(&self) -> bool {
        is_up(&self.status)
    }
}

pub(crate) fn is_up(status: &str) -> bool {
    matches!(status, "Running" | "Ready" | "Starting" | "Stopping" | "Freezing" | "Frozen" | "Thawed")
}

impl InstanceSpec {
    fn body(&self) -> Value {
        let source = match &self.source {
            Source::Fingerprint(fingerprint) => json!({"type": "image", "fingerprint": fingerprint}),
            Source::Alias(alias) => json!({"type": "image", "alias": alias}),
            Source::Copy(origin) => json!({"type": "copy", "source": origin, "instance_only": true}),
        };
        let mut config = self.config.clone();
        config.insert("limits.memory".into(), format!("{}B", self.memory));
        config.insert("limits.cpu".into(), self.cpus.to_string());
        config.extend(self.user_data.iter().map(|data| ("cloud-init.user-data".into(), data.clone())));
        config.extend(self.mark.write());
        let mut root = json!({"type": "disk", "path": "/", "pool": self.pool});
        if let Some(size) = self.disk {
            root["size"] = format!("{size}B").into();
        }
        json!({"name": self.name, "type": self.kind, "profiles": [], "source": source, "config": config,
            "devices": {"root": root}})
    }
}

impl Client {
    /// Creates an instance and leaves it stopped.
    ///
    /// # Errors
    /// [`IncusError`]; nothing of the instance is left then, unless the server is out of reach.
    pub async fn create(&self, spec: &InstanceSpec, deadline: Deadline) -> Result<(), IncusError> {
        let what = format!("create the instance {}", spec.name);
        let call = Call::new(Method::POST, "/1.0/instances", &what).json(&spec.body());
        let Err(error) = self.run(call, deadline).await else { return Ok(()) };
        // The name may be somebody else's instance's, so only what bears our nonce is removed.
        match self.remove(&spec.name, &spec.mark.nonce, deadline).await {
            Err(left) if !error.lost_the_server() => tracing::warn!(%left, name = spec.name, "removing what was begun"),
            _ => {}
        }
        Err(match error {
            error if says_name_taken(&error) => IncusError::NameTaken {
                name: spec.name.clone(),
                remedy: "start again, as every run chooses names of its own",
            },
            error if says_image_missing(&error) => image_missing(&spec.source, error),
            error => error,
        })
    }

    /// The instance, `None` when there is none of this name.
    ///
    /// # Errors
    /// [`IncusError`] when that cannot be told.
    pub async fn instance(&self, name: &str, deadline: Deadline) -> Result<Option<Instance>, IncusError> {
        let call = Call::new(Method::GET, path(name), format!("look at the instance {name}"));
        match self.get(call, deadline).await {
            Ok(instance) => Ok(Some(instance)),
            Err(IncusError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every instance of the project that we may see.
    ///
    /// # Errors
    /// [`IncusError`].
    pub async fn instances(&self, deadline: Deadline) -> Result<Vec<Instance>, IncusError> {
        let call = Call::new(Method::GET, "/1.0/instances", "list the instances").query("recursion", "1");
        self.get(call, deadline).await
    }

    /// Stops and deletes the instance `name` if it bears `nonce`, and looks that it is gone.
    /// An instance of that name with another nonce is somebody else's, and is left alone.
    ///
    /// # Errors
    /// [`IncusError`] when it is still there, or that cannot be told.
    pub async fn remove(&self, name: &str, nonce: &str, deadline: Deadline) -> Result<(), IncusError> {
        loop {
            self.settle(&path(name), deadline).await?;
            let Some(instance) = self.ours(name, nonce, deadline).await? else { return Ok(()) };
            if instance.is_up() {
                let stopped = self.change_state(name, "stop", true, deadline).await;
                // It may have stopped by itself since. If it has not, deleting it will say so.
                if let Err(error) = stopped {
                    tracing::debug!(%error, name, "stopping before deleting");
                }
            }
            let call = Call::new(Method::DELETE, path(name), format!("delete the instance {name}"));
            let deleted = self.run(call, deadline).await;
            // Looked at whatever the server said: a lost operation may have done its work.
            let Some(left) = self.ours(name, nonce, deadline).await? else { return Ok(()) };
            let error = deleted.err().unwrap_or_else(|| unreadable("delete", format!("{name} is still there")));
            // Incus makes a stop and a start of a virtual machine's reboot, and lists no operation for that.
            let reboots = left.is_up() || says_busy(&error);
            if !reboots || deadline.has_passed() {
                return Err(error);
            }
            tracing::debug!(%error, name, "it reboots while it is deleted");
            tokio::time::sleep(BETWEEN_REMOVALS).await;
        }
    }

    async fn ours(&self, name: &str, nonce: &str, deadline: Deadline) -> Result<Option<Instance>, IncusError> {
        let instance = self.instance(name, deadline).await?;
        Ok(instance.filter(|instance| instance.mark().is_some_and(|mark| mark.nonce == nonce)))
    }

    /// Copies the state of an instance's disk under the name `snapshot`.
    ///
    /// # Errors
    /// [`IncusError`]; a restricted project needs `restricted.snapshots=allow`.
    pub async fn snapshot(&self, name: &str, snapshot: &str, deadline: Deadline) -> Result<(), IncusError> {
        let call = Call::new(Method::POST, format!("{}/snapshots", path(name)), format!("snapshot {name}"));
        self.run(call.json(&json!({"name": snapshot})), deadline).await.map(drop)
    }

    /// Changes memory and processors of an instance that is stopped: a running virtual machine
    /// cannot grow past what it was started with.
    ///
    /// # Errors
    /// [`IncusError::Conflict`] when somebody else changed it in between.
    pub async fn set_size(&self, name: &str, memory: u64, cpus: u32, deadline: Deadline) -> Result<(), IncusError> {
        let what = format!("resize the instance {name}");
        let read = Call::new(Method::GET, path(name), &what);
        let Reply::Sync { etag: Some(etag), metadata } = self.call(read, deadline).await? else {
            return Err(unreadable(&what, "no ETag"));
        };
        let before: Instance = decode(&what, metadata)?;
        if before.is_up() {
            return Err(unreadable(&what, format!("it is {}, not stopped", before.status)));
        }
        let config = json!({"config": {"limits.memory": format!("{memory}B"), "limits.cpu": cpus.to_string()}});
        let call = Call::new(Method::PATCH, path(name), &what).header("if-match", etag).json(&config);
        self.run(call, deadline).await.map(drop)
    }

    /// The pool of the root disk in the project's default profile.
    ///
    /// # Errors
    /// [`IncusError::Setting`] when it has none.
    pub async fn default_pool(&self, deadline: Deadline) -> Result<String, IncusError> {
        let call = Call::new(Method::GET, "/1.0/profiles/default", "look at the default profile");
        let profile: Value = self.get(call, deadline).await?;
        profile["devices"]["root"]["pool"].as_str().map(str::to_owned).ok_or_else(|| IncusError::Setting {
            setting: "pool",
            problem: format!("the default profile of the project `{}` has no root disk", self.server().project),
            remedy: "name the storage pool as `pool` under [machine.incus]".to_owned(),
        })
    }
}

fn image_missing(source: &Source, error: IncusError) -> IncusError {
    match source {
        Source::Fingerprint(image) | Source::Alias(image) => {
            IncusError::ImageMissing { image: image.clone(), reason: words(error) }
        }
        Source::Copy(_) => error,
    }
}

fn words(error: IncusError) -> String {
    match error {
        IncusError::Refused { reason, .. } | IncusError::NotFound { reason, .. } => reason,
        error => error.to_string(),
    }
}

pub(crate) fn path(name: &str) -> String {
    format!("/1.0/instances/{}", segment(name))
}
