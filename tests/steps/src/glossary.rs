//! The domain's words for states of the host and for criteria, as features use them.

use anyhow::{Context as _, Result};

use crate::{command::Variant, testbed::Host};

/// States of the host that need no seeded fault.
const STATES: &[(&str, Host)] = &[
    ("is as it is committed", Host::Committed),
    ("is running its committed configuration", Host::Committed),
    ("is running its committed configuration with a stack on a swarm", Host::Stacked),
    ("has an original that runs what was built before", Host::Claimed),
    ("has a misspelt section in its definition", Host::Misdefined(Variant::MisspeltSection)),
    ("has a machine that never boots", Host::Misdefined(Variant::NeverBoots)),
    ("is committed where nobody serves it", Host::Misdefined(Variant::NobodyServes)),
];

/// States of the host to the seeded fault that brings them about.
const FAULTS: &[(&str, &str)] = &[
    ("has a change in the operator's tree that was never committed", "operator-tree-dirty"),
    ("has a token in the configuration of the operator's tree", "token-in-git-config"),
    ("is committed with secrets older than the tip of their branch", "gitlink-old"),
    ("has a value in plain text among its secrets", "value-in-plain-text"),
    ("has secrets encrypted for a recipient that nobody declared", "recipient-undeclared"),
    ("has secrets that name a recipient who cannot decrypt them", "recipient-label-only"),
    ("has its secrets in a repository that everybody may read", "repository-public"),
    ("declares a secret that its definition does not name", "secret-undeclared"),
    ("is rebuilt on a machine that holds an age key already", "key-on-blank-machine"),
    ("has a bootstrap key that others can read", "bootstrap-key-readable"),
    ("has a unit that calls a stranger", "unit-calls-out"),
    ("has units that need an order and declare none", "reconcilers-unordered"),
    ("has units that name no more than the one before them", "reconcilers-chained"),
    ("has an activation that fails the first time", "activation-snippet-fails"),
    ("has a unit that fails first and works later", "unit-heals-by-restart"),
    ("has a oneshot that its own condition skips", "oneshot-skipped"),
    ("changes a unit at every activation", "drop-in-timestamped"),
    ("is running a system that git does not build", "running-system-differs"),
    ("would boot another system than the one that runs", "profile-points-elsewhere"),
    ("has a file in its store changed behind the back of Nix", "store-file-changed"),
    ("has an original that runs something else", "reference-toplevel-old"),
    ("has a build that depends on its time", "build-varies"),
    ("builds its own revision into its system", "revision-in-closure"),
    ("has a secret that is empty", "secret-empty"),
    ("has a secret that everybody can read", "secret-mode"),
    ("goes on without secrets where its key is missing", "missing-key-ignored"),
    ("makes up its secrets where its key does not fit", "wrong-key-garbage"),
    ("signs a certificate of its own where git has none", "certificate-self-made"),
    ("builds a secret into its store", "secret-in-store"),
    ("has a process with a secret among its arguments", "secret-in-arguments"),
    ("has a process with a secret in its environment", "secret-in-environment"),
    ("has a file with a secret in base64", "secret-in-file"),
    ("has logged a secret in hex", "secret-in-journal"),
    ("has a repository with a secret in its history", "secret-in-history"),
    ("has a compressed backup of a secret", "secret-in-archive"),
    ("has the core dump of a program that held a secret", "secret-in-core-dump"),
    ("serves a leaf other than the one committed", "stale-leaf-served"),
    ("has its leaf committed without the intermediate", "intermediate-missing"),
    ("has a key committed that is not the leaf's own", "key-of-another-leaf"),
    ("has a leaf committed that lacks one of its names", "leaf-lacks-names"),
    ("has a leaf committed that is about to expire", "leaf-about-to-expire"),
    ("still speaks outdated versions of TLS", "old-protocols-spoken"),
    ("has a default certificate other than the one committed", "default-certificate-stale"),
    ("has a declared unit that was stopped", "unit-stopped"),
    ("has a page that is gone", "page-gone"),
    ("has a stack that is short of a replica", "stack-short-of-replicas"),
    ("fills nearly all of its memory while it switches", "memory-nearly-exhausted"),
    ("fills nearly all of its disk while it switches", "disk-nearly-filled"),
    ("cannot take over the state of its previous revision", "migration-missing"),
    ("needs state that only its first activation makes", "state-gone-at-reboot"),
    ("is set up for the memory of its first start", "sized-at-first-start"),
    ("is proven on a machine that leaves a directory that cannot be removed", "mount-left-busy"),
    ("is proven on a machine whose removal ends another run's as well", "bystander-in-lease"),
];

/// What a mismatch is about, to the criterion that reports it.
const NOUNS: &[(&str, &str)] = &[
    ("clone", "source.recursive-clone"),
    ("gitlink", "source.gitlink-current"),
    ("credential", "source.no-credentials"),
    ("encryption", "source.secrets-encrypted"),
    ("recipient", "source.recipients-exact"),
    ("privacy", "source.private"),
    ("coverage", "coverage.complete"),
    ("inventory", "blank.inventory"),
    ("bootstrap", "blank.one-secret"),
    ("egress", "isolation.egress"),
    ("switch", "convergence.one-switch"),
    ("failure", "convergence.no-failures"),
    ("system", "convergence.running"),
    ("idempotence", "convergence.idempotent"),
    ("race", "ordering.race-free"),
    ("toplevel", "identity.toplevel"),
    ("contents", "identity.contents"),
    ("reproduction", "identity.reproduced"),
    ("original", "identity.original"),
    ("determinism", "identity.deterministic"),
    ("source form", "identity.source-forms"),
    ("secret", "secrets.in-place"),
    ("mode", "secrets.modes"),
    ("decryption", "secrets.each-recipient"),
    ("missing key", "secrets.missing-key-is-loud"),
    ("wrong key", "secrets.wrong-key-is-loud"),
    ("missing certificate", "secrets.missing-certificate-is-loud"),
    ("leak", "leaks.none"),
    ("leaf", "tls.leaf-equals-git"),
    ("chain", "tls.chain"),
    ("key", "tls.key-matches"),
    ("name", "tls.names"),
    ("validity", "tls.validity"),
    ("version", "tls.protocols"),
    ("default certificate", "tls.unknown-name"),
    ("unit", "services.units"),
    ("answer", "services.http"),
    ("stack", "services.stacks"),
    ("memory", "resources.peak-memory"),
    ("disk", "resources.peak-disk"),
    ("budget", "resources.budget"),
    ("reboot", "lifecycle.reboot"),
    ("resize", "lifecycle.resize"),
    ("upgrade", "lifecycle.upgrade"),
    ("leftover", "teardown.clean"),
];

/// The state of the host that the words describe.
pub(crate) fn state(words: &str) -> Result<Host> {
    if let Some((_, host)) = STATES.iter().find(|(known, _)| *known == words) {
        return Ok(*host);
    }
    let (_, fault) = FAULTS
        .iter()
        .find(|(known, _)| *known == words)
        .with_context(|| format!("no state of the host is called {words:?}; the glossary has them all"))?;
    let seeded = coldproof_reference::faults().iter().find(|seeded| seeded.name == *fault);
    seeded.map(Host::Faulty).with_context(|| format!("the reference host has no seeded fault {fault:?}"))
}

/// Everything that a host can be said to be.
#[cfg(test)]
pub(crate) fn states() -> impl Iterator<Item = &'static str> {
    STATES.iter().map(|(words, _)| *words).chain(FAULTS.iter().map(|(words, _)| *words))
}

/// The seeded faults that have words.
#[cfg(test)]
pub(crate) fn faults() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().map(|(_, fault)| *fault)
}

/// The criterion that reports mismatches of this noun.
pub(crate) fn criterion(noun: &str) -> Result<&'static str> {
    let found = NOUNS.iter().find(|(known, _)| *known == noun);
    found.map(|(_, criterion)| *criterion).with_context(|| format!("no criterion reports a {noun} mismatch"))
}
