//! When each unit was started since the switch began, and which others it had to wait for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use coldproof_evidence::starts::{Start, UnitStarts};
use serde_json::{Map, Value};

use crate::{
    bus::{Bus, Reader, Value as Property},
    journal,
    manager::{get_property, list_units},
    units::{UNIT, unless_unloaded},
};

/// Of the job that an entry is about. A restart is logged as the stop and the start that it consists of.
const STARTS: &str = "JOB_TYPE=start";
/// A start began (`SD_MESSAGE_UNIT_STARTING`). There is none of a unit that is up at once.
const STARTING: &str = "7d4958e842da4a758f6c1cdc7b36dcc5";

/// Every unit that was started since `since_us`, as far as it can be told.
pub(crate) fn observe(bus: &mut Bus, since_us: u64) -> BTreeMap<String, UnitStarts> {
    read(bus, since_us).unwrap_or_else(|error| {
        eprintln!("observer: when units were started is not known: {error:#}");
        BTreeMap::new()
    })
}

fn read(bus: &mut Bus, since_us: u64) -> anyhow::Result<BTreeMap<String, UnitStarts>> {
    let terms = ["_PID=1", STARTS].map(str::to_owned);
    let entries = journal::read(since_us, &terms, "UNIT,JOB_RESULT,MESSAGE_ID")?;
    let mut units = sort(&entries);
    let names: BTreeSet<String> = units.keys().cloned().collect();
    let listed = list_units(bus)?;
    let listed: Vec<_> = listed.into_iter().filter(|unit| names.contains(&unit.name)).collect();
    let calls: Vec<_> = listed.iter().map(|unit| get_property(&unit.path, &[UNIT, "After"])).collect();
    for (unit, answer) in listed.iter().zip(bus.call_all(&calls)?) {
        let Some(body) = unless_unloaded(answer)? else { continue };
        let Property::Texts(after) = Reader::new(&body).variant().context("reading After= of a unit")? else {
            continue;
        };
        if let Some(known) = units.get_mut(&unit.name) {
            known.after = after.into_iter().filter(|other| names.contains(other)).collect();
        }
    }
    Ok(units)
}

/// Puts the entries of each unit's start jobs together: a beginning, where there was one to tell of, and an end.
fn sort(entries: &[Map<String, Value>]) -> BTreeMap<String, UnitStarts> {
    let mut units = BTreeMap::<String, UnitStarts>::new();
    for entry in entries {
        let text = |field: &str| journal::text(entry, field);
        let (unit, result, id) = (text("UNIT"), text("JOB_RESULT"), text("MESSAGE_ID"));
        let at_us = text("__REALTIME_TIMESTAMP").parse().unwrap_or_default();
        let starts = &mut units.entry(unit).or_default().starts;
        if id == STARTING {
            starts.push(Start { began_us: at_us, ..Start::default() });
        } else if !result.is_empty() {
            match starts.last_mut().filter(|start| start.ended_us.is_none()) {
                Some(start) => (start.ended_us, start.result) = (Some(at_us), result),
                None => starts.push(Start { began_us: at_us, ended_us: Some(at_us), result }),
            }
        }
    }
    units.retain(|_, unit| !unit.starts.is_empty());
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: &str = r#"
{"__REALTIME_TIMESTAMP":"10","UNIT":"a.service","MESSAGE_ID":"7d4958e842da4a758f6c1cdc7b36dcc5"}
{"__REALTIME_TIMESTAMP":"11","UNIT":"b.service","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf","JOB_RESULT":"done"}
{"__REALTIME_TIMESTAMP":"12","UNIT":"a.service","MESSAGE_ID":"be02cf6855d2428ba40df7e9d022f03d","JOB_RESULT":"failed"}
{"__REALTIME_TIMESTAMP":"13","UNIT":"a.service","MESSAGE_ID":"7d4958e842da4a758f6c1cdc7b36dcc5"}
{"__REALTIME_TIMESTAMP":"14","UNIT":"c.service","MESSAGE":"Something else about the job."}
"#;

    #[test]
    fn a_start_has_a_beginning_and_an_end() {
        let units = sort(&journal::entries(ENTRIES.as_bytes()).unwrap());
        let starts = |unit: &str| -> Vec<_> {
            let starts = units[unit].starts.iter();
            starts.map(|start| (start.began_us, start.ended_us, start.result.as_str())).collect()
        };
        assert_eq!(starts("a.service"), [(10, Some(12), "failed"), (13, None, "")], "again, and still under way");
        assert_eq!(starts("b.service"), [(11, Some(11), "done")], "up at once");
        assert_eq!(units.len(), 2, "what is no start counts for nothing");
    }
}
