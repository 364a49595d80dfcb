//! What the Docker engine, where one runs, says of its swarm.

mod answers;
mod engine;
#[cfg(test)]
mod fake;

use std::{collections::BTreeMap, path::Path};

use coldproof_evidence::{Observed, guest::UnitObservation, swarm::SwarmObservation};

use self::{
    answers::{Service, Task},
    engine::{Answer, EngineError},
};

/// Where an engine listens.
const SOCKET: &str = "/run/docker.sock";
/// Systemd's own socket for it.
const SOCKET_UNIT: &str = "docker.socket";
/// Every service, with how many of its tasks run.
const SERVICES: &str = "/services?status=true";
/// Every task, also of those that have ended.
const TASKS: &str = "/tasks";

/// Asks the engine. That there is none is a fact as well.
pub(crate) fn observe(units: &[UnitObservation]) -> Observed<SwarmObservation> {
    if is_asleep(units) {
        return Observed::of(SwarmObservation::default());
    }
    match ask(Path::new(SOCKET)) {
        Ok(swarm) => Observed::of(swarm),
        Err(error) => Observed::Unavailable { cause: format!("the Docker engine at {SOCKET}: {error}") },
    }
}

/// Whether systemd listens in place of an engine that nothing has asked yet: to ask would start it.
fn is_asleep(units: &[UnitObservation]) -> bool {
    units.iter().any(|unit| unit.name == SOCKET_UNIT && unit.sub_state == "listening")
}

fn ask(socket: &Path) -> Result<SwarmObservation, EngineError> {
    let Some(answer) = engine::get(socket, SERVICES)? else { return Ok(SwarmObservation::default()) };
    // 503: it manages no swarm, or one that is locked. 404: an engine of another make, which knows no swarm.
    if matches!(answer.status, 404 | 503) {
        let refusal = Some(answers::message(&answer.body));
        return Ok(SwarmObservation { engine: true, refusal, services: Vec::new() });
    }
    let services: Vec<Service> = parsed(SERVICES, &answer)?;
    let mut services = services.into_iter().map(Service::observed).collect::<Result<Vec<_>, _>>()?;
    services.sort_by(|a, b| a.name.cmp(&b.name));
    if services.iter().any(|service| service.running != service.desired) {
        let mut errors = last_errors(socket)?;
        for service in services.iter_mut().filter(|service| service.running != service.desired) {
            service.last_error = errors.remove(&service.id);
        }
    }
    Ok(SwarmObservation { engine: true, refusal: None, services })
}

/// What the last task of each service that went wrong said, by the service's id.
fn last_errors(socket: &Path) -> Result<BTreeMap<String, String>, EngineError> {
    let answer = engine::get(socket, TASKS)?.ok_or(EngineError::Gone)?;
    let mut tasks: Vec<Task> = parsed(TASKS, &answer)?;
    tasks.sort_by_key(Task::version);
    Ok(tasks.into_iter().filter_map(Task::error).collect())
}

fn parsed<T: serde::de::DeserializeOwned>(path: &'static str, answer: &Answer) -> Result<Vec<T>, EngineError> {
    if answer.status != 200 {
        return Err(EngineError::Status { path, status: answer.status, message: answers::message(&answer.body) });
    }
    serde_json::from_slice(&answer.body).map_err(|source| EngineError::Json { path, source })
}

#[cfg(test)]
mod tests {
    use coldproof_evidence::swarm::SwarmService;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::{fake::FakeEngine, *};

    fn service(name: &str, running: u64, desired: u64) -> Value {
        json!({
            "ID": format!("{name}-id"),
            "Version": { "Index": 21 },
            "Spec": { "Name": format!("ci_{name}"), "Labels": { "com.docker.stack.namespace": "ci" } },
            "ServiceStatus": { "RunningTasks": running, "DesiredTasks": desired, "CompletedTasks": 0 },
        })
    }

    fn task(service: &str, version: u64, error: Option<&str>) -> Value {
        let mut status = json!({ "State": "running" });
        if let Some(error) = error {
            status["Err"] = error.into();
        }
        json!({ "ID": version.to_string(), "ServiceID": service, "Version": { "Index": version }, "Status": status })
    }

    /// What a fake engine with these answers is seen to have.
    fn seen(answers: &[(&'static str, u16, String)]) -> Result<SwarmObservation, EngineError> {
        let engine = FakeEngine::start(answers);
        ask(&engine.socket)
    }

    #[test]
    fn no_socket_and_a_socket_that_nobody_listens_on_are_no_engine() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(ask(&directory.path().join("none.sock")).unwrap(), SwarmObservation::default());
        let left = directory.path().join("left.sock");
        drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
        assert_eq!(ask(&left).unwrap(), SwarmObservation::default());
    }

    #[test]
    fn an_engine_that_manages_no_swarm_is_quoted() {
        let words = "This node is not a swarm manager.";
        let swarm = seen(&[(SERVICES, 503, json!({ "message": words }).to_string())]).unwrap();
        assert_eq!(swarm, SwarmObservation { engine: true, refusal: Some(words.into()), services: Vec::new() });
    }

    #[test]
    fn services_come_by_name_and_tasks_are_not_asked_for_where_all_run() {
        let answer = json!([service("worker", 1, 1), service("web", 2, 2)]).to_string();
        let swarm = seen(&[(SERVICES, 200, answer)]).unwrap();
        let names: Vec<_> = swarm.stack("ci").map(|service| (&*service.name, service.running)).collect();
        assert_eq!(names, [("ci_web", 2), ("ci_worker", 1)]);
        assert!(swarm.services.iter().all(|service| service.last_error.is_none()));
    }

    #[test]
    fn a_service_without_a_stack_belongs_to_none() {
        let mut alone = service("alone", 1, 1);
        alone["Spec"]["Labels"] = Value::Null;
        let swarm = seen(&[(SERVICES, 200, json!([alone]).to_string())]).unwrap();
        assert_eq!(swarm.services[0].stack, None);
    }

    #[test]
    fn of_a_service_that_is_short_the_latest_error_is_told() {
        let services = json!([service("web", 2, 2), service("worker", 0, 1)]).to_string();
        let tasks = json!([
            task("worker-id", 40, Some("task: non-zero exit (1)")),
            task("worker-id", 31, Some("No such image: app:1")),
            task("worker-id", 42, None),
            task("web-id", 33, Some("task: non-zero exit (2)")),
        ]);
        let swarm = seen(&[(SERVICES, 200, services), (TASKS, 200, tasks.to_string())]).unwrap();
        let errors: Vec<_> = swarm.services.iter().map(|service| service.last_error.as_deref()).collect();
        assert_eq!(errors, [None, Some("task: non-zero exit (1)")]);
    }

    #[test]
    fn another_specification_has_another_digest_and_another_count_has_not() {
        let digest = |service: Value| -> SwarmService {
            seen(&[(SERVICES, 200, json!([service]).to_string()), (TASKS, 200, "[]".into())])
                .unwrap()
                .services
                .remove(0)
        };
        let mut forced = service("web", 2, 2);
        forced["Spec"]["TaskTemplate"] = json!({ "ForceUpdate": 1 });
        let usual = digest(service("web", 2, 2)).specification;
        assert_ne!(digest(forced).specification, usual);
        assert_eq!(digest(service("web", 1, 2)).specification, usual);
    }

    #[rstest]
    #[case::status(
        500,
        "{\"message\":\"The swarm does not have a leader.\"}",
        "500: The swarm does not have a leader."
    )]
    #[case::no_json(200, "[{", "/services?status=true is not what")]
    #[case::too_old(200, "[{\"ID\":\"1\",\"Spec\":{\"Name\":\"a\"}}]", "Docker does from 20.10 on")]
    fn an_answer_that_cannot_be_read_is_an_error(#[case] status: u16, #[case] body: &str, #[case] told: &str) {
        let error = seen(&[(SERVICES, status, body.to_owned())]).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }

    #[test]
    fn an_engine_that_sleeps_is_not_woken() {
        let socket = |sub: &str| UnitObservation {
            name: SOCKET_UNIT.into(),
            sub_state: sub.into(),
            ..UnitObservation::default()
        };
        assert!(is_asleep(&[socket("listening")]));
        assert!(!is_asleep(&[socket("running")]) && !is_asleep(&[]));
    }
}
