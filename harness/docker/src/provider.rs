//! The Docker provider.

use std::{collections::HashMap, thread, time::Duration};

use async_trait::async_trait;
use coldproof_machines::{
    deadline::Deadline,
    lease::Lease,
    neighbours::Neighbour,
    provider::{Accelerator, Capabilities, Machine, MachineSpec, Provider, ProvisionError},
    remote::{Remote, RemoteProvider},
};
use serde::{Deserialize, Serialize};
use testcontainers::{
    bollard::{
        Docker,
        query_parameters::{ListContainersOptions, RemoveContainerOptions},
    },
    runners::AsyncRunner as _,
};

use crate::{
    container::{self, LEASE_LABEL},
    engine::{self, EngineError},
    image,
    machine::DockerMachine,
    neighbours,
};

/// The provider's stable name.
const NAME: &str = "docker";

/// How long the engine may refuse to remove a container: it does while it starts it for an owner that died meanwhile,
/// and while somebody else removes it.
const REMOVAL: Duration = Duration::from_secs(30);
/// How long after a refusal it is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// How what this provider makes is removed, for `coldproof_machines::helper::dispatch`.
pub const REMOTE: RemoteProvider = RemoteProvider { name: NAME, remove };

/// Makes containers.
#[derive(Debug)]
pub struct DockerProvider {
    docker: Docker,
    host: String,
}

impl DockerProvider {
    /// Connects to the engine at `DOCKER_HOST`, or at the usual socket.
    ///
    /// # Errors
    /// [`EngineError`] when there is none that this user may use.
    pub async fn connect() -> Result<Self, EngineError> {
        let host = engine::host();
        Ok(Self { docker: engine::connect(&host).await?, host })
    }
}

#[async_trait]
impl Provider for DockerProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities { provider: NAME.to_owned(), accelerator: accelerator(), fork: false }
    }

    async fn create(
        &self,
        spec: &MachineSpec,
        mut lease: Lease,
        deadline: Deadline,
    ) -> Result<Box<dyn Machine>, ProvisionError> {
        let built = spec.image.built()?;
        image::ensure(&self.docker, &built.archive, &built.key).await?;
        let handle = Handle { host: self.host.clone(), lease: lease.id().to_owned() };
        let handle =
            serde_json::to_value(handle).map_err(|error| ProvisionError::Start { reason: error.to_string() })?;
        // In the ledger before the engine is asked: whoever dies in between is cleaned up after.
        lease.add_remote(Remote { provider: NAME.to_owned(), name: container::name(&lease), handle })?;
        let request = container::request(spec, &built.key, &lease);
        let container = match deadline.bound(request.start()).await {
            Ok(started) => started.map_err(|error| ProvisionError::Start { reason: error.to_string() })?,
            Err(late) => return Err(ProvisionError::Start { reason: late.to_string() }),
        };
        Ok(Box::new(DockerMachine::new(self.docker.clone(), container, spec, lease)?))
    }

    async fn neighbours(&self, run: &str) -> Result<Vec<Neighbour>, ProvisionError> {
        Ok(neighbours::of(&self.docker, run).await?)
    }
}

/// How the processors of every container are run.
pub(crate) fn accelerator() -> Accelerator {
    Accelerator { name: "native".to_owned(), reason: "a container runs on the host's own kernel".to_owned() }
}

/// What the ledger keeps of a container.
#[derive(Debug, Serialize, Deserialize)]
struct Handle {
    host: String,
    lease: String,
}

/// Removes every container of the lease, and looks that there is none. On a thread of its own, as the caller may be
/// within an asynchronous runtime.
fn remove(remote: &Remote) -> Result<(), String> {
    let handle = Handle::deserialize(&remote.handle).map_err(|error| error.to_string())?;
    let removing = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(remove_containers(&handle))
    });
    removing.join().unwrap_or_else(|_| Err("the removal panicked".to_owned()))
}

async fn remove_containers(handle: &Handle) -> Result<(), String> {
    let docker = engine::connect(&handle.host).await.map_err(|error| error.to_string())?;
    let deadline = Deadline::after(REMOVAL);
    let mut refused = String::new();
    loop {
        let left = containers(&docker, &handle.lease).await?;
        if left.is_empty() {
            return Ok(());
        }
        if deadline.has_passed() {
            return Err(format!("the engine still has {}: {refused}", left.join(", ")));
        }
        for id in left {
            let options = RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
            if let Err(error) = docker.remove_container(&id, Some(options)).await {
                tracing::debug!(%error, id, "removing a container");
                refused = error.to_string();
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn containers(docker: &Docker, lease: &str) -> Result<Vec<String>, String> {
    let filters = HashMap::from([("label".to_owned(), vec![format!("{LEASE_LABEL}={lease}")])]);
    let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
    let found = docker.list_containers(Some(options)).await.map_err(|error| error.to_string())?;
    Ok(found.into_iter().filter_map(|container| container.id).collect())
}
