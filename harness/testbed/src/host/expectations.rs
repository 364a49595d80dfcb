//! What a host definition declares, as the plain data that criteria compare observations with.

use std::collections::BTreeMap;

use coldproof_evidence::expectations::{
    Expectations, ExpectedBootstrap, ExpectedMachine, ExpectedRecipient, ExpectedSecret, ExpectedSource, ExpectedStack,
    ExpectedTls, ExpectedUnit, ExpectedUrl, SharedPath, Waiver,
};

use super::{HostDefinition, Recipient, Secret, Service, Shared, Source, Tls};

impl HostDefinition {
    /// The declared side of every comparison.
    #[must_use]
    pub fn expectations(&self) -> Expectations {
        Expectations {
            host: self.host.name.to_string(),
            toplevel: self.host.toplevel.as_ref().map(ToString::to_string),
            original: None,
            source: expected_source(&self.source),
            recipients: named(&self.recipients, expected_recipient),
            bootstrap: ExpectedBootstrap {
                path: self.bootstrap.path.to_string(),
                recipient: self.bootstrap.recipient.to_string(),
            },
            secrets: named(&self.secrets, expected_secret),
            allowed_egress: texts(&self.allowed_egress),
            waivers: self
                .waivers
                .iter()
                .map(|waiver| Waiver { what: waiver.what.to_string(), reason: waiver.reason.clone() })
                .collect(),
            shared: self.shared.as_deref().map(|shared| shared.iter().map(shared_path).collect()),
            tls: self.tls.as_ref().map(expected_tls),
            units: self.units(),
            urls: self.urls(),
            stacks: self.stacks(),
            required: texts(&self.required),
            deadline_secs: self.machine.deadline.duration().as_secs(),
            machine: ExpectedMachine { memory_bytes: self.machine.memory.into(), disk_bytes: self.machine.disk.into() },
        }
    }

    fn units(&self) -> BTreeMap<String, ExpectedUnit> {
        let unit = |service: &Service| match service {
            Service::Unit { unit, state } => {
                Some(ExpectedUnit { unit: unit.to_string(), state: state.word().to_owned() })
            }
            Service::Http { .. } | Service::Stack { .. } => None,
        };
        self.services.iter().filter_map(|(name, service)| Some((name.to_string(), unit(service)?))).collect()
    }

    fn urls(&self) -> BTreeMap<String, ExpectedUrl> {
        let url = |service: &Service| match service {
            Service::Http { url, status } => Some(ExpectedUrl { url: url.to_string(), status: *status }),
            Service::Unit { .. } | Service::Stack { .. } => None,
        };
        self.services.iter().filter_map(|(name, service)| Some((name.to_string(), url(service)?))).collect()
    }

    fn stacks(&self) -> BTreeMap<String, ExpectedStack> {
        let stack = |service: &Service| match service {
            Service::Stack { stack, replicas } => {
                Some(ExpectedStack { stack: stack.to_string(), replicas: u64::from(*replicas) })
            }
            Service::Http { .. } | Service::Unit { .. } => None,
        };
        self.services.iter().filter_map(|(name, service)| Some((name.to_string(), stack(service)?))).collect()
    }
}

fn expected_source(source: &Source) -> ExpectedSource {
    ExpectedSource {
        url: source.repository.declared().to_owned(),
        revision: source.revision.to_string(),
        private: source.private,
        tree: source.tree.is_some(),
        pins: named(&source.pins, ToString::to_string),
    }
}

fn expected_recipient(recipient: &Recipient) -> ExpectedRecipient {
    ExpectedRecipient { age: recipient.age.to_string(), host_key: recipient.ssh, held: recipient.key.is_some() }
}

fn expected_secret(secret: &Secret) -> ExpectedSecret {
    ExpectedSecret {
        sops_file: secret.sops_file.to_string(),
        sops_key: secret.sops_key.clone(),
        path: secret.path.to_string(),
        mode: secret.mode.bits(),
        owner: secret.owner.to_string(),
        group: secret.group.to_string(),
        links: texts(&secret.links),
        public: secret.public,
    }
}

fn expected_tls(tls: &Tls) -> ExpectedTls {
    ExpectedTls { names: texts(&tls.names), wildcard_probe: tls.wildcard_probe, port: tls.port, min_days: tls.min_days }
}

fn shared_path(shared: &Shared) -> SharedPath {
    SharedPath { path: shared.path.to_string(), units: texts(&shared.units), reason: shared.reason.clone() }
}

fn named<K: ToString, V, E>(declared: &BTreeMap<K, V>, expected: impl Fn(&V) -> E) -> BTreeMap<String, E> {
    declared.iter().map(|(name, value)| (name.to_string(), expected(value))).collect()
}

fn texts(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
