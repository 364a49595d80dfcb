//! Holds features, glossary, criteria and seeded faults to each other.

use std::{collections::BTreeSet, path::Path};

use coldproof_criteria::CRITERIA;
use cucumber::World as _;

use crate::{
    Proof,
    adapter::{Case, discover},
    glossary,
};

fn specification() -> Vec<Case> {
    discover(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../features")).unwrap()
}

/// The criterion that the scenario expects a mismatch of; none if it expects none.
fn expected_mismatch(case: &Case) -> Option<&'static str> {
    case.steps.iter().find_map(|step| {
        let noun = step.strip_prefix("the finding is a")?.split_once(' ')?.1.split_once(" mismatch")?.0;
        Some(glossary::criterion(noun).unwrap())
    })
}

#[test]
fn every_criterion_has_a_rule_with_a_positive_and_a_negative_example() {
    let cases = specification();
    for criterion in CRITERIA {
        let tag = format!("criterion:{}", criterion.name);
        let (negative, positive): (Vec<_>, Vec<_>) =
            cases.iter().filter(|c| c.tags.contains(&tag)).partition(|c| expected_mismatch(c).is_some());
        assert!(!positive.is_empty(), "no scenario shows that {} holds", criterion.name);
        let caught = negative.iter().any(|c| expected_mismatch(c) == Some(criterion.name));
        assert!(caught, "no scenario shows that {} catches anything", criterion.name);
    }
}

#[test]
fn every_tag_of_a_criterion_names_one() {
    for case in specification() {
        for name in case.tags.iter().filter_map(|tag| tag.strip_prefix("criterion:")) {
            assert!(coldproof_criteria::named(name).is_some(), "{}: no criterion is named {name}", case.position());
        }
    }
}

#[test]
fn every_step_is_defined() {
    let definitions = Proof::collection();
    for case in specification() {
        let feature = &case.feature;
        let scenarios = feature.scenarios.iter().chain(feature.rules.iter().flat_map(|rule| &rule.scenarios));
        for step in scenarios.flat_map(|scenario| &scenario.steps) {
            let defined = matches!(definitions.find(step), Ok(Some(_)));
            assert!(defined, "{}: {} is not defined, or twice", case.position(), step.value);
        }
    }
}

#[test]
fn every_state_in_the_glossary_is_used_and_every_fault_in_it_is_seeded() {
    let cases = specification();
    for words in glossary::states() {
        let used = cases.iter().any(|case| case.steps.iter().any(|step| step.ends_with(words)));
        assert!(used, "no scenario has a host that {words}");
    }
    let seeded: BTreeSet<_> = coldproof_reference::faults().iter().map(|fault| fault.name).collect();
    // Not each fault is a scenario: `coldproof selftest` proves all of them, by every criterion.
    for fault in glossary::faults() {
        assert!(seeded.contains(fault), "the reference host has no fault {fault}");
    }
}

#[test]
fn a_scenario_that_needs_a_machine_says_so() {
    for case in specification() {
        let machine = case.steps.iter().any(|step| NEEDS_MACHINE.iter().any(|words| step.starts_with(words)));
        assert_eq!(machine, case.tags.iter().any(|tag| tag == "qemu"), "{}", case.position());
    }
}

/// The actions that need one.
const NEEDS_MACHINE: [&str; 12] = [
    "the operator switches it",
    "it is observed",
    "another blank machine",
    "its units run one at a time",
    "its machine is destroyed",
    "its machine is rebooted",
    "its machine is given more memory",
    "a client ",
    "it is killed",
    "the operator asks for a proof of its blank machine",
    "a proof of host",
    "the operator asks for a whole proof",
];
