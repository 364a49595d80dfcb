//! `coverage.complete`: nothing that the host declares escapes the proof unnoticed.

use std::collections::BTreeSet;

use coldproof_evidence::{
    Expectations, Mismatch, Observed, Record,
    expectations::Waiver,
    guest::{EvaluatedConfiguration, Listener, SystemObservation},
    source::SopsFileObservation,
    swarm::SwarmObservation,
};
use globset::{Glob, GlobSet, GlobSetBuilder};
use url::Url;

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const COMPLETE: Criterion = Criterion::new(
    "coverage.complete",
    "the secrets, sops keys, units, listeners and stacks that the host has are those that the host definition checks; \
     anything more is waived with a reason",
    &[Need::Sops],
    complete,
)
.using(&[Need::System, Need::Reproduction])
// A revision that does not evaluate fails the switch, and does not tell what it declares.
.blocked_by(&["convergence.one-switch"]);

const KINDS: [&str; 6] = ["unit:", "secret:", "sops-key:", "listener:", "stack:", "source-form:"];

fn complete(record: &Record) -> Option<Judgement> {
    let sops = record.sops.facts()?;
    let expected = &record.expectations;
    let mut judgement = Judgement::new("nothing was found that a host definition could check");
    let waived = waivers(&expected.waivers, &mut judgement);
    for file in &sops.files {
        sops_keys(file, expected, &waived, &mut judgement);
    }
    if let Some(reproduction) = record.reproduction.facts() {
        configuration(&reproduction.configuration, expected, &waived, &mut judgement);
    }
    if let Some(system) = record.system.facts() {
        listeners(system, expected, &waived, &mut judgement);
        match &system.swarm {
            Observed::Facts { facts, .. } => stacks(facts, expected, &waived, &mut judgement),
            Observed::Unavailable { cause } => judgement.doubt(format!("the stacks could not be observed: {cause}")),
            Observed::NotObserved => {}
        }
    }
    Some(judgement)
}

/// The waivers that count; each of the others is a mismatch.
fn waivers(waivers: &[Waiver], judgement: &mut Judgement) -> GlobSet {
    let mut builder = GlobSetBuilder::new();
    for Waiver { what, reason } in waivers {
        let known = KINDS.iter().any(|kind| what.starts_with(kind));
        match Glob::new(what) {
            Ok(glob) if known && !reason.trim().is_empty() => {
                builder.add(glob);
            }
            Ok(_) if known => judgement.wrong(bad_waiver(what, "no reason")),
            Ok(_) => judgement.wrong(bad_waiver(what, "a kind that does not exist")),
            Err(error) => judgement.wrong(bad_waiver(what, &error.to_string())),
        }
    }
    // Each glob compiled on its own above; an empty set, which waives nothing, is the safe reading of a set that does not.
    builder.build().unwrap_or_else(|_| GlobSet::empty())
}

fn bad_waiver(what: &str, got: &str) -> Mismatch {
    mismatch(
        format!("[coverage] waive `{what}`"),
        "unit:NAME, secret:NAME, sops-key:FILE#KEY, listener:PORT, stack:NAME or source-form:SCHEME, and a reason",
        got,
        "say what is waived and why, or remove the waiver",
    )
}

fn sops_keys(file: &SopsFileObservation, expected: &Expectations, waived: &GlobSet, judgement: &mut Judgement) {
    let declared = || expected.secrets.iter().filter(|(_, secret)| secret.sops_file == file.path);
    for key in file.values.keys() {
        let what = format!("sops-key:{}#{key}", file.path);
        let covered = waived.is_match(&what) || declared().any(|(_, secret)| covers(&secret.sops_key, key));
        judgement.subject((!covered).then(|| {
            undeclared(
                &what,
                "a secret of the host definition",
                "nothing checks it",
                &format!("[secrets.NAME] with key = \"{key}\""),
            )
        }));
    }
    for (name, secret) in declared() {
        if !file.values.keys().any(|key| covers(&secret.sops_key, key)) {
            judgement.wrong(mismatch(
                format!("[secrets.{name}]"),
                format!("the key `{}` in {}", secret.sops_key, file.path),
                "no such key",
                format!("add it with `sops edit {}`, or correct `key` in the host definition", file.path),
            ));
        }
    }
}

/// Whether a declared key is, or holds, the value at `path`; sops-nix writes nested keys with `/`, sops with `.`.
fn covers(declared: &str, path: &str) -> bool {
    let declared = declared.replace('/', ".");
    path.strip_prefix(&declared).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn configuration(
    evaluated: &EvaluatedConfiguration,
    expected: &Expectations,
    waived: &GlobSet,
    judgement: &mut Judgement,
) {
    for (name, secret) in &evaluated.secrets {
        let what = format!("secret:{name}");
        let covered = waived.is_match(&what) || expected.secrets.values().any(|known| known.path == secret.path);
        judgement.subject((!covered).then(|| {
            let wanted = format!("a secret at {}", secret.path);
            undeclared(&what, &wanted, "the configuration declares it, the host definition does not", "[secrets.NAME]")
        }));
    }
    for unit in &evaluated.units {
        let what = format!("unit:{unit}");
        let covered = waived.is_match(&what) || expected.units.values().any(|known| &known.unit == unit);
        judgement.subject((!covered).then(|| {
            undeclared(
                &what,
                "a unit of the host definition",
                "the configuration starts it, the host definition does not check it",
                "[services.NAME] with `unit`",
            )
        }));
    }
}

fn listeners(system: &SystemObservation, expected: &Expectations, waived: &GlobSet, judgement: &mut Judgement) {
    for listener in system.listeners.iter().filter(|listener| !is_dhcp_client(listener)) {
        let what = format!("listener:{}", listener.port);
        let covered = waived.is_match(&what) || (listener.protocol == "tcp" && probed(expected, listener.port));
        judgement.subject((!covered).then(|| {
            let got = format!("{} listens on {}/{}", listener.process, listener.port, listener.protocol);
            undeclared(&what, "a port that [tls] or a [services] URL probes", &got, "[services.NAME] with `url`")
        }));
    }
}

fn stacks(swarm: &SwarmObservation, expected: &Expectations, waived: &GlobSet, judgement: &mut Judgement) {
    let running: BTreeSet<_> = swarm.services.iter().filter_map(|service| service.stack.as_deref()).collect();
    for stack in running {
        let what = format!("stack:{stack}");
        let covered = waived.is_match(&what) || expected.stacks.values().any(|declared| declared.stack == stack);
        judgement.subject((!covered).then(|| {
            let got = "the swarm runs it, the host definition does not check it";
            undeclared(&what, "a stack of the host definition", got, "[services.NAME] with `stack` and `replicas`")
        }));
    }
}

/// A machine that gets its address by DHCP listens for the answer: RFC 2131 §4.1 and RFC 8415 §7.2.
fn is_dhcp_client(listener: &Listener) -> bool {
    listener.protocol.starts_with("udp") && matches!(listener.port, 68 | 546)
}

fn probed(expected: &Expectations, port: u16) -> bool {
    let port_of = |url: &str| Url::parse(url).ok().and_then(|url| url.port_or_known_default());
    expected.tls.as_ref().is_some_and(|tls| tls.port == port)
        || expected.urls.values().any(|declared| port_of(&declared.url) == Some(port))
}

fn undeclared(what: &str, expected: &str, got: &str, table: &str) -> Mismatch {
    mismatch(
        what,
        expected,
        got,
        format!(
            "declare it as {table}, or waive it: waive = [{{ what = \"{what}\", reason = \"…\" }}] under [coverage]"
        ),
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::covers;

    #[rstest]
    #[case("api", "api", true)]
    #[case("db/password", "db.password", true)]
    #[case("users", "users.0.name", true)]
    #[case("api", "api_key", false)]
    #[case("db.password", "db", false)]
    fn a_declared_key_covers_what_is_under_it(#[case] declared: &str, #[case] path: &str, #[case] expected: bool) {
        assert_eq!(covers(declared, path), expected);
    }
}
