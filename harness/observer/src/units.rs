//! What systemd says of each unit.

use std::collections::BTreeSet;

use anyhow::Context as _;
use coldproof_evidence::{credentials, guest::UnitObservation};

use crate::{
    bus::{Bus, BusError, Reader, Value},
    manager::{ListedUnit, get_property, list_units, manager_call},
};

pub(crate) const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";

/// What a service is asked for, beyond what the list has.
const PROPERTIES: &[[&str; 2]] = &[
    [UNIT, "ConditionResult"],
    [UNIT, "ConditionTimestamp"],
    [UNIT, "UnitFileState"],
    [UNIT, "ActiveEnterTimestamp"],
    [SERVICE, "Type"],
    [SERVICE, "Result"],
    [SERVICE, "NRestarts"],
    [SERVICE, "Environment"],
];

/// Every loaded unit and each of `asked`, by name.
pub(crate) fn observe(bus: &mut Bus, asked: &[String]) -> anyhow::Result<Vec<UnitObservation>> {
    let mut listed = list_units(bus)?;
    load_missing(bus, &mut listed, asked)?;
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let mut calls = Vec::new();
    for unit in &listed {
        calls.extend(properties_of(unit).iter().map(|property| get_property(&unit.path, property)));
    }
    let mut answers = bus.call_all(&calls)?.into_iter();
    listed
        .iter()
        .map(|unit| {
            let mut observation = UnitObservation {
                name: unit.name.clone(),
                load_state: unit.load_state.clone(),
                active_state: unit.active_state.clone(),
                sub_state: unit.sub_state.clone(),
                condition_met: true,
                ..UnitObservation::default()
            };
            let mut tried = true;
            for [_, property] in properties_of(unit) {
                let Some(answer) = answers.next() else { break };
                let Some(body) = unless_unloaded(answer)? else { continue };
                let value = Reader::new(&body).variant()?;
                tried &= *property != "ConditionTimestamp" || value != Value::Number(0);
                apply(&mut observation, property, value);
            }
            observation.condition_met |= !tried;
            Ok(observation)
        })
        .collect()
}

/// Loads the units that were asked for and are not in memory, and appends them.
fn load_missing(bus: &mut Bus, listed: &mut Vec<ListedUnit>, asked: &[String]) -> anyhow::Result<()> {
    let known: BTreeSet<_> = listed.iter().map(|unit| unit.name.clone()).collect();
    for name in asked.iter().filter(|name| !known.contains(*name)) {
        let body = match bus.call(&manager_call("LoadUnit", &[name])) {
            Ok(body) => body,
            // A name that systemd does not accept is a unit that cannot exist.
            Err(BusError::Failed(..)) => {
                let unit = ListedUnit { name: name.clone(), load_state: "not-found".to_owned(), ..Default::default() };
                listed.push(ListedUnit { active_state: "inactive".to_owned(), sub_state: "dead".to_owned(), ..unit });
                continue;
            }
            Err(error) => return Err(error).with_context(|| format!("loading {name}")),
        };
        let path = Reader::new(&body).string()?;
        let mut state = |property: &str| -> anyhow::Result<String> {
            let answer = bus.call(&get_property(&path, &[UNIT, property]))?;
            Ok(text(Reader::new(&answer).variant()?))
        };
        let (load_state, active_state) = (state("LoadState")?, state("ActiveState")?);
        let sub_state = state("SubState")?;
        listed.push(ListedUnit { name: name.clone(), load_state, active_state, sub_state, path });
    }
    Ok(())
}

/// What a unit is asked for. Of anything but a service that systemd has loaded, the list tells all that is judged; each
/// question costs systemd and us a change of the process.
fn properties_of(unit: &ListedUnit) -> &'static [[&'static str; 2]] {
    let asked = unit.name.ends_with(".service") && unit.load_state == "loaded" && !unit.path.is_empty();
    if asked { PROPERTIES } else { &[] }
}

/// A unit may leave systemd's memory between the list and the question; that is no error.
pub(crate) fn unless_unloaded(answer: Result<Vec<u8>, BusError>) -> Result<Option<Vec<u8>>, BusError> {
    match answer {
        Ok(body) => Ok(Some(body)),
        Err(BusError::Failed(..)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn apply(unit: &mut UnitObservation, property: &str, value: Value) {
    match (property, value) {
        ("ConditionResult", Value::Flag(met)) => unit.condition_met = met,
        ("UnitFileState", value) => unit.unit_file_state = text(value),
        ("ActiveEnterTimestamp", Value::Number(at)) => unit.active_enter_us = at,
        ("Type", value) => unit.service_type = text(value),
        ("Result", value) => unit.result = text(value),
        ("NRestarts", Value::Number(count)) => unit.restarts = u32::try_from(count).unwrap_or(u32::MAX),
        ("Environment", Value::Texts(assignments)) => unit.credential_names = credential_names(&assignments),
        _ => {}
    }
}

fn text(value: Value) -> String {
    if let Value::Text(text) = value { text } else { String::new() }
}

/// Names of the assignments that hold a credential; the values go no further.
fn credential_names(assignments: &[String]) -> Vec<String> {
    let pairs = assignments.iter().filter_map(|assignment| assignment.split_once('='));
    let found = pairs.filter(|(name, value)| credentials::is_credential(name, value));
    found.map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_described_by_its_properties() {
        let mut unit = UnitObservation::default();
        apply(&mut unit, "ConditionResult", Value::Flag(true));
        apply(&mut unit, "Type", Value::Text("oneshot".to_owned()));
        apply(&mut unit, "NRestarts", Value::Number(3));
        apply(&mut unit, "ActiveEnterTimestamp", Value::Number(17));
        assert!(unit.condition_met);
        assert_eq!((unit.service_type.as_str(), unit.restarts, unit.active_enter_us), ("oneshot", 3, 17));
    }

    #[test]
    fn of_an_environment_only_names_are_kept() {
        let mut unit = UnitObservation::default();
        let assignments = ["PATH=/bin", "RPC_SECRET=hunter2", "TOKEN=/run/secrets/token"].map(str::to_owned);
        apply(&mut unit, "Environment", Value::Texts(assignments.to_vec()));
        assert_eq!(unit.credential_names, ["RPC_SECRET"]);
    }
}
