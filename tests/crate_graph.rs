//! Holds the crates to the dependencies that the design allows.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use rstest::rstest;

/// What callers of the engine link.
const HARNESS: &[&str] = &[
    "coldproof-evidence",
    "coldproof-criteria",
    "coldproof-machines",
    "coldproof-testbed",
    "coldproof-reference",
    "coldproof-selftest",
    "coldproof-verdict",
];

/// Every crate of the workspace, and those of the workspace that it may link.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("coldproof-evidence", &[]),
    ("coldproof-machines", &["coldproof-evidence"]),
    ("coldproof-incus", &["coldproof-container", "coldproof-machines"]),
    ("coldproof-criteria", &["coldproof-evidence"]),
    ("coldproof-leaks", &[]),
    ("coldproof-observer", &["coldproof-evidence", "coldproof-leaks"]),
    ("coldproof-verdict", &["coldproof-evidence", "coldproof-criteria"]),
    ("coldproof-embed", &[]),
    ("coldproof-tunnel", &[]),
    ("coldproof-container", &["coldproof-embed", "coldproof-machines", "coldproof-tunnel"]),
    ("coldproof-docker", &["coldproof-container", "coldproof-machines"]),
    (
        "coldproof-testbed",
        &[
            "coldproof-criteria",
            "coldproof-docker",
            "coldproof-embed",
            "coldproof-evidence",
            "coldproof-incus",
            "coldproof-leaks",
            "coldproof-machines",
        ],
    ),
    ("coldproof-reference", &["coldproof-evidence", "coldproof-machines"]),
    ("coldproof-selftest", &["coldproof-criteria", "coldproof-evidence", "coldproof-reference", "coldproof-verdict"]),
    ("coldproof-steps", HARNESS),
    ("coldproof", HARNESS),
];

fn metadata() -> Metadata {
    MetadataCommand::new().no_deps().exec().expect("cargo describes the workspace that it builds")
}

/// What each crate of the workspace links or builds with; what only its tests use is left aside.
fn linked() -> BTreeMap<String, BTreeSet<String>> {
    let linked = |package: cargo_metadata::Package| {
        let used = package.dependencies.into_iter().filter(|d| d.kind != DependencyKind::Development);
        (package.name.to_string(), used.map(|d| d.name).collect())
    };
    metadata().packages.into_iter().map(linked).collect()
}

/// Everything of the workspace that `root` links, however far down, and what these link directly.
fn closure(root: &str) -> BTreeSet<String> {
    let graph = linked();
    let (mut seen, mut next) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(name) = next.pop() {
        for dependency in graph.get(&name).into_iter().flatten() {
            if seen.insert(dependency.clone()) {
                next.push(dependency.clone());
            }
        }
    }
    seen
}

#[test]
fn every_crate_of_the_workspace_has_its_place() {
    let expected: BTreeSet<_> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(linked().into_keys().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn crates_link_only_what_they_may() {
    let graph = linked();
    let allowed: BTreeMap<_, _> = ALLOWED.into_iter().collect();
    for (name, dependencies) in &graph {
        let ours = dependencies.iter().filter(|d| graph.contains_key(*d));
        let wrong: Vec<_> = ours.filter(|d| !allowed[name.as_str()].contains(&d.as_str())).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
}

#[rstest]
#[case::the_verdict_is_reached_without_machines("coldproof-verdict", &["coldproof-machines", "coldproof-testbed", "tokio"])]
#[case::criteria_do_no_input_or_output("coldproof-criteria", &["tokio", "rustix", "reqwest", "tempfile"])]
#[case::the_command_links_no_test_framework("coldproof", &["cucumber", "gherkin", "libtest-mimic", "coldproof-steps"])]
#[case::the_observer_stays_small("coldproof-observer", &["tokio", "rustls", "reqwest", "coldproof-machines"])]
fn never_links(#[case] name: &str, #[case] banned: &[&str]) {
    let found: Vec<_> = closure(name).into_iter().filter(|d| banned.contains(&d.as_str())).collect();
    assert!(found.is_empty(), "{name} links {found:?}");
}
