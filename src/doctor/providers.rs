//! Whether each provider works here, and what it lacks.

use std::fmt::Display;

use coldproof_machines::provider::{Capabilities, ProvisionError};
use coldproof_testbed::{
    host::{Machine, Provider},
    providers,
};

use crate::toolbox::Wanting;

/// What is known of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It works, in this way.
    Works(String),
    /// It does not, for this reason.
    Lacks(String),
    /// It needs something that only a host definition says.
    Unset(&'static str),
}

const NO_SERVER: &str = "not configured: name a host definition with [machine.incus] by --host (docs/incus.md)";
const NO_HOST: &str = "not configured: name a host definition with [machine.ssh] by --host (docs/ssh.md)";

/// Looks at each provider; at those that are elsewhere only where `machine` says where.
pub(super) async fn look(machine: Option<&Machine>, wanting: &Wanting) -> Vec<(Provider, State)> {
    let qemu = match wanting.lines() {
        missing if missing.is_empty() => accelerated(providers::qemu().await),
        missing => State::Lacks(missing.join("; ")),
    };
    let incus = match machine.and_then(|machine| machine.incus.as_ref()) {
        Some(settings) => {
            let server = &settings.server;
            at(&format!("{} project {}: ", server.url, server.project), accelerated(providers::incus(settings).await))
        }
        None => State::Unset(NO_SERVER),
    };
    let ssh = match machine.and_then(|machine| machine.original.as_ref()) {
        Some(original) => match providers::ssh(&original.ssh).await {
            Ok(()) => State::Works(format!("{} can be looked at", original.ssh.destination)),
            Err(error) => lacks(error),
        },
        None => State::Unset(NO_HOST),
    };
    vec![(Provider::Qemu, qemu), (Provider::Docker, docker().await), (Provider::Incus, incus), (Provider::Ssh, ssh)]
}

#[cfg(feature = "docker")]
async fn docker() -> State {
    accelerated(providers::docker().await)
}

#[cfg(not(feature = "docker"))]
async fn docker() -> State {
    lacks("this coldproof was built without the feature `docker`")
}

/// A row for a person. What does not work is missing only where it is needed.
pub(super) fn row(provider: Provider, state: &State, needed: bool) -> String {
    let (word, detail) = match state {
        State::Works(how) => ("ok", how.as_str()),
        State::Lacks(why) if needed => ("MISSING", why.as_str()),
        State::Lacks(why) => ("absent", why.as_str()),
        State::Unset(what) => ("unset", *what),
    };
    format!("{word:<8} {:<20} {detail}", format!("provider {}", provider.word()))
}

fn accelerated(answer: Result<Capabilities, ProvisionError>) -> State {
    match answer {
        Ok(Capabilities { accelerator, .. }) => State::Works(format!("{}: {}", accelerator.name, accelerator.reason)),
        Err(error) => lacks(error),
    }
}

/// Errors may be paragraphs; here each is one line.
fn lacks(error: impl Display) -> State {
    State::Lacks(error.to_string().replace('\n', "; "))
}

fn at(place: &str, state: State) -> State {
    match state {
        State::Works(how) => State::Works(format!("{place}{how}")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use coldproof_machines::provider::Accelerator;

    use super::*;

    fn answer(reason: &str) -> Capabilities {
        Capabilities {
            provider: "incus".into(),
            accelerator: Accelerator { name: "native".into(), reason: reason.into() },
            fork: false,
        }
    }

    #[test]
    fn each_provider_has_one_row_that_says_what_is_missing() {
        let server =
            at("https://incus.example.org project proof: ", accelerated(Ok(answer("the server's own kernel"))));
        let unmet = ProvisionError::Unmet { problem: "no engine answers".into(), remedy: "start it".into() };
        let rows = [
            row(Provider::Qemu, &State::Lacks("QEMU 8.2 or later".into()), true),
            row(Provider::Docker, &accelerated(Err(unmet)), false),
            row(Provider::Incus, &server, false),
            row(Provider::Incus, &State::Unset(NO_SERVER), false),
            row(Provider::Ssh, &State::Works("cc-ci can be looked at".into()), true),
            row(Provider::Ssh, &lacks("cc-ci cannot be looked at\nsee that it is up"), true),
            row(Provider::Ssh, &State::Unset(NO_HOST), true),
        ];
        insta::assert_snapshot!(rows.join("\n"));
    }

    #[tokio::test]
    async fn without_a_definition_nobody_elsewhere_is_asked() {
        let lacking = Wanting { tools: Vec::new(), qemu: true, sops: false };
        let states = look(None, &lacking).await;
        assert!(matches!(&states[0], (Provider::Qemu, State::Lacks(why)) if why.contains("QEMU")), "{states:?}");
        assert_eq!(states[2..], [(Provider::Incus, State::Unset(NO_SERVER)), (Provider::Ssh, State::Unset(NO_HOST))]);
    }
}
