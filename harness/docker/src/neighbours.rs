//! Containers that are not ours.

use std::collections::HashMap;

use coldproof_machines::neighbours::Neighbour;
use futures::future::join_all;
use testcontainers::bollard::{
    Docker,
    models::ContainerSummary,
    query_parameters::{InspectContainerOptions, ListContainersOptions},
};

use crate::{
    container::{LEASE_LABEL, RUN_LABEL},
    engine::EngineError,
};

/// Every container that runs and is not of this run.
pub(crate) async fn of(docker: &Docker, run: &str) -> Result<Vec<Neighbour>, EngineError> {
    let listed = docker.list_containers(None::<ListContainersOptions>).await;
    let listed = listed.map_err(EngineError::refused("listing the containers"))?;
    let others = listed.into_iter().filter(|container| label(container, RUN_LABEL) != Some(run));
    Ok(join_all(others.map(|container| neighbour(docker, container))).await.into_iter().flatten().collect())
}

/// A restart by others keeps the id; what has ended since it was listed is none.
async fn neighbour(docker: &Docker, container: ContainerSummary) -> Option<Neighbour> {
    let of_another_run = label(&container, LEASE_LABEL).is_some();
    let id = container.id?;
    let inspected = docker.inspect_container(&id, None::<InspectContainerOptions>).await.ok()?;
    let started = inspected.state.and_then(|state| state.started_at).unwrap_or_default();
    let name = inspected.name.map_or_else(|| id.clone(), |name| name.trim_start_matches('/').to_owned());
    let identity = format!("container {id}, started {started}");
    Some(Neighbour { name, identity, of_another_run, processes: Vec::new() })
}

fn label<'c>(container: &'c ContainerSummary, name: &str) -> Option<&'c str> {
    let labels: &HashMap<String, String> = container.labels.as_ref()?;
    labels.get(name).map(String::as_str)
}
