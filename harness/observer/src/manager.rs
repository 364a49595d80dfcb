//! systemd's manager object: its state, its units, and waiting until it has settled.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::bus::{Bus, BusError, Call, Reader, Value, WireError};

pub(crate) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const ROOT: &str = "/org/freedesktop/systemd1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// One unit as `ListUnits` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListedUnit {
    pub(crate) name: String,
    pub(crate) load_state: String,
    pub(crate) active_state: String,
    pub(crate) sub_state: String,
    /// The unit's object path.
    pub(crate) path: String,
}

/// A call of the manager object.
pub(crate) const fn manager_call<'a>(member: &'a str, arguments: &'a [&'a str]) -> Call<'a> {
    Call { path: ROOT, interface: MANAGER, member, arguments }
}

/// A call that gets one property; `arguments` are the interface and the property's name.
pub(crate) const fn get_property<'a>(path: &'a str, arguments: &'a [&'a str; 2]) -> Call<'a> {
    Call { path, interface: PROPERTIES, member: "Get", arguments }
}

/// What `systemctl is-system-running` says.
pub(crate) fn system_state(bus: &mut Bus) -> anyhow::Result<String> {
    match manager_property(bus, "SystemState")? {
        Value::Text(state) => Ok(state),
        other => anyhow::bail!("systemd's SystemState is {other:?} instead of a text"),
    }
}

/// Every unit in systemd's memory.
pub(crate) fn list_units(bus: &mut Bus) -> anyhow::Result<Vec<ListedUnit>> {
    let body = bus.call(&manager_call("ListUnits", &[]))?;
    Reader::new(&body).array(8, listed_unit).context("reading systemd's list of units")
}

/// Waits until no job is queued and the boot has finished, for at most `patience`; whoever looks at the units
/// afterwards sees which of them are still on their way.
pub(crate) fn settle(bus: &mut Bus, patience: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let booting = ["initializing", "starting"].contains(&system_state(bus)?.as_str());
        let jobs = manager_property(bus, "NJobs")?;
        if !booting && jobs == Value::Number(0) {
            return Ok(());
        }
        if !bus.wait_for_signal(&["JobRemoved", "StartupFinished"], deadline)? {
            return Ok(());
        }
    }
}

fn manager_property(bus: &mut Bus, name: &str) -> Result<Value, BusError> {
    let body = bus.call(&get_property(ROOT, &[MANAGER, name]))?;
    Ok(Reader::new(&body).variant()?)
}

/// One element of `ListUnits`' answer, `(ssssssouso)`.
fn listed_unit(reader: &mut Reader<'_>) -> Result<ListedUnit, WireError> {
    let name = reader.string()?;
    let _description = reader.string()?;
    let load_state = reader.string()?;
    let active_state = reader.string()?;
    let sub_state = reader.string()?;
    let _followed = reader.string()?;
    let path = reader.string()?;
    let _job = (reader.u32()?, reader.string()?, reader.string()?);
    Ok(ListedUnit { name, load_state, active_state, sub_state, path })
}
