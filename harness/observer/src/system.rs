//! Everything that one round trip brings back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, anyhow};
use coldproof_evidence::{guest::SystemObservation, request::ObserveRequest};

use crate::{bus::Bus, checkout, journal, manager, secrets, sockets, starts, swarm, unit_files, units};

/// How long units that are on their way are waited for, so that what is observed is a settled system.
const PATIENCE: Duration = Duration::from_secs(60);
const RUNNING: &str = "/run/current-system";
const BOOTED: &str = "/run/booted-system";
const PROFILE: &str = "/nix/var/nix/profiles/system";

/// Observes the guest. The closure is not among the facts: `observer closure` takes its own time.
pub(crate) fn observe(request: &ObserveRequest) -> anyhow::Result<SystemObservation> {
    let mut bus = Bus::connect()?;
    manager::settle(&mut bus, PATIENCE)?;
    let at_us = now_us();
    // systemd and journalctl take about as long as each other.
    let (units, journal) = thread::scope(|scope| {
        let journal = scope.spawn(|| journal::observe(request.since_us));
        let units = units::observe(&mut bus, &request.units).context("reading systemd's units");
        (units, journal.join())
    });
    let units = units?;
    let mut journal = journal.map_err(|_| anyhow!("reading the journal ended in a panic"))?;
    let failed = units.iter().filter(|unit| unit.active_state == "failed").map(|unit| unit.name.as_str());
    let failed: BTreeSet<_> = failed.chain(journal.failures.iter().map(|failure| failure.unit.as_str())).collect();
    // Where nothing failed nobody wants to know, and the guest is spared the questions.
    let starts = if failed.is_empty() { BTreeMap::new() } else { starts::observe(&mut bus, request.since_us) };
    journal.tails = journal::tails(request.since_us, &failed);
    let swarm = swarm::observe(&units);
    let checkout = checkout::observe(Path::new(&request.checkout));
    let running_system = resolved(RUNNING);
    Ok(SystemObservation {
        at_us,
        system_state: manager::system_state(&mut bus)?,
        units,
        journal,
        starts,
        profile_system: resolved(PROFILE),
        system_version: running_system.as_deref().and_then(version),
        running_system,
        booted_system: resolved(BOOTED),
        closure: Vec::new(),
        secrets: secrets::observe(request)?,
        listeners: sockets::observe(),
        unit_files: unit_files::observe(),
        credentials: checkout.credentials,
        checkout_heads: checkout.heads,
        swarm,
    })
}

/// Microseconds since the epoch.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn resolved(link: &str) -> Option<String> {
    fs::canonicalize(link).ok().map(|path| path.to_string_lossy().into_owned())
}

fn version(toplevel: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(toplevel).join("nixos-version")).ok()?;
    Some(text.trim().to_owned())
}
