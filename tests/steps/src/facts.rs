//! Facts that a scenario reads in the record itself, so that a criterion which judges too kindly is noticed.

use anyhow::{Context as _, Result, bail, ensure};
use coldproof_evidence::{
    Record, lifecycle::LifecycleObservation, rebuild::RebuildObservation, record::Observed, served::Reception,
};

fn facts<'r, T>(observed: &'r Observed<T>, what: &str) -> Result<&'r T> {
    observed.facts().with_context(|| format!("{what} was not observed"))
}

/// A random name under the wildcard was served the leaf that git has.
pub(crate) fn committed_leaf_is_served(record: &Record) -> Result<()> {
    let committed = facts(&record.sops, "git")?.certificate.as_ref().context("git has no certificate")?;
    let probes = &facts(&record.tls, "TLS")?.probes;
    let random = probes.iter().find(|probe| probe.random).context("no random name was tried")?;
    ensure!(!committed.chain_der.is_empty(), "git has a certificate without a leaf");
    ensure!(random.chain_der.first() == committed.chain_der.first(), "{} was served another leaf", random.name);
    Ok(())
}

/// Every declared name was asked for with TLS 1.0 and 1.1, and the server said no.
pub(crate) fn old_versions_were_refused(record: &Record) -> Result<()> {
    let probes = &facts(&record.tls, "TLS")?.old_versions;
    ensure!(probes.len() >= 2, "only {} hellos of an old version were sent", probes.len());
    let met: Vec<_> = probes.iter().filter(|probe| !matches!(probe.reception, Reception::Refused(_))).collect();
    ensure!(met.is_empty(), "not refused: {met:?}");
    Ok(())
}

/// A name that nobody can have was asked for, and no certificate came but perhaps the committed one.
pub(crate) fn a_name_of_nobody_was_asked_for(record: &Record) -> Result<()> {
    let committed = facts(&record.sops, "git")?.certificate.as_ref().context("git has no certificate")?;
    let probe = facts(&record.tls, "TLS")?.unknown_names.first().context("no such name was asked for")?;
    match &probe.reception {
        Reception::Accepted(leaf) => ensure!(committed.chain_der.first() == Some(leaf), "another leaf was served"),
        Reception::Refused(_) => {}
        reception => bail!("{} was not refused: {reception:?}", probe.name),
    }
    Ok(())
}

/// The rebuild command ran, exited 0 and every job that systemd finished meanwhile was done.
pub(crate) fn one_switch_converged(record: &Record) -> Result<()> {
    let switch = facts(&record.switch, "the switch")?;
    ensure!(switch.exit_code == Some(0), "the switch exited with {:?}", switch.exit_code);
    ensure!(switch.argv.iter().any(|argument| argument == "switch"), "no switch: {:?}", switch.argv);
    ensure!(!switch.jobs.is_empty(), "no job was seen to finish");
    let failed: Vec<_> =
        switch.jobs.iter().filter(|job| ["failed", "dependency", "timeout"].contains(&&*job.result)).collect();
    ensure!(failed.is_empty(), "failed jobs: {failed:?}");
    Ok(())
}

/// One secret was delivered, with mode 0400.
pub(crate) fn one_private_secret_was_delivered(record: &Record) -> Result<()> {
    let delivered = &facts(&record.bootstrap, "the bootstrap")?.delivered;
    ensure!(delivered.len() == 1, "{} secrets were delivered", delivered.len());
    ensure!(delivered[0].mode & 0o777 == 0o400, "its mode is {:o}", delivered[0].mode);
    Ok(())
}

/// Every kind of place was looked through, for the age key and more, by a search that could see.
pub(crate) fn every_place_was_looked_through(record: &Record) -> Result<()> {
    let leaks = facts(&record.leaks, "the search for secrets")?;
    ensure!(leaks.searched.len() > 2, "only {:?} were looked for", leaks.searched);
    for surface in ["nix store", "journal", "process arguments", "process environments", "git", "/etc", "/run", "/var"]
    {
        let scanned = leaks.surfaces.get(surface).copied().unwrap_or_default();
        ensure!(scanned.items > 0 && scanned.bytes > 0, "nothing was looked through of: {surface}");
    }
    Ok(())
}

/// Two machines have the same paths with the same bytes, hashed on each of them.
pub(crate) fn two_machines_have_the_same_bytes(record: &Record) -> Result<()> {
    let bytes = |closure: &[coldproof_evidence::guest::StorePathObservation]| {
        let mut paths: Vec<_> = closure.iter().map(|p| (p.path.clone(), p.actual.clone())).collect();
        paths.sort();
        paths
    };
    let first = bytes(&facts(&record.system, "the system")?.closure);
    let second = bytes(&facts(&record.reproduction, "the second machine")?.closure);
    ensure!(!first.is_empty() && first.iter().all(|(_, hash)| hash.is_some()), "the closure was not hashed");
    ensure!(first == second, "{} paths on the one and {} on the other machine differ", first.len(), second.len());
    Ok(())
}

/// What is said of the original was built on the second machine.
pub(crate) fn the_original_runs_what_was_built(record: &Record) -> Result<()> {
    let built = &facts(&record.reproduction, "the second machine")?.toplevel;
    let claimed = record.expectations.toplevel.as_ref().context("nothing is said of the original")?;
    ensure!(claimed == built, "{built} was built, and the original is said to run {claimed}");
    Ok(())
}

/// The toplevel is among what was built again.
pub(crate) fn the_system_was_built_again(record: &Record) -> Result<()> {
    let toplevel = &facts(&record.reproduction, "the second machine")?.toplevel;
    let repeated = &facts(&record.repeated_builds, "building again")?.derivations;
    ensure!(repeated.iter().any(|build| build.outputs.contains(toplevel)), "{toplevel} was not built again");
    Ok(())
}

/// The switch without a key failed, and its output has the key's path.
pub(crate) fn no_key_was_there_and_it_was_said(record: &Record) -> Result<()> {
    let deprived = facts(&record.missing_key, "the switch without a key")?;
    ensure!(deprived.delivered.is_none(), "a key was delivered");
    failed_saying(&deprived.switch, &record.expectations.bootstrap.path)
}

/// The switch with another key failed, and its output has what age says then.
pub(crate) fn another_key_was_there_and_it_was_said(record: &Record) -> Result<()> {
    let deprived = facts(&record.wrong_key, "the switch with another key")?;
    let delivered = deprived.delivered.as_ref().context("no key was delivered")?;
    ensure!(delivered.intact, "the key did not arrive as it was sent");
    ensure!(delivered.recipient != record.expectations.bootstrap.recipient, "the right key was delivered");
    failed_saying(&deprived.switch, "of the recipients")
}

/// The switch without the certificate failed, and its output has the certificate's key in git.
pub(crate) fn the_certificate_was_missed(record: &Record) -> Result<()> {
    let deprived = facts(&record.missing_certificate, "the switch without the certificate")?;
    failed_saying(&deprived.switch, "wildcard_cert")
}

fn failed_saying(switch: &RebuildObservation, words: &str) -> Result<()> {
    ensure!(switch.exit_code.is_some_and(|code| code != 0), "the switch exited with {:?}", switch.exit_code);
    ensure!(switch.output.iter().any(|line| line.contains(words)), "it does not say {words:?}: {:?}", switch.output);
    Ok(())
}

/// The guest came back in another boot, and its secrets with it.
pub(crate) fn it_was_started_again(observed: &Observed<LifecycleObservation>) -> Result<()> {
    let restart = facts(observed, "the restart")?;
    let after = restart.after.as_ref().context("the guest did not come back")?;
    ensure!(after.boot.id != restart.before.id, "both boots are {}", after.boot.id);
    ensure!(after.system.booted_system.is_some(), "no generation was booted");
    ensure!(after.system.secrets.values().any(|secret| secret.hmac.is_some()), "no secret is there");
    Ok(())
}

/// The guest has more memory than it had.
pub(crate) fn it_has_grown(record: &Record) -> Result<()> {
    it_was_started_again(&record.resize)?;
    let resize = facts(&record.resize, "the resize")?;
    let memory = resize.after.as_ref().map_or(0, |after| after.boot.memory_bytes);
    ensure!(memory > resize.before.memory_bytes, "it had {} and has {memory} bytes", resize.before.memory_bytes);
    Ok(())
}

/// Several units ran, each touched paths, and paths that more than one touched were seen.
pub(crate) fn units_were_traced(record: &Record) -> Result<()> {
    let ordering = facts(&record.ordering, "the order of the units")?;
    ensure!(ordering.traced.len() > 1, "{} units were traced", ordering.traced.len());
    let idle: Vec<_> = ordering.traced.iter().filter(|unit| unit.touched == 0).map(|unit| &unit.unit).collect();
    ensure!(idle.is_empty(), "no path was touched by {idle:?}");
    ensure!(ordering.traced.iter().any(|unit| !unit.accesses.is_empty()), "no path was touched by two units");
    Ok(())
}

/// The machine ran something else before the upgrade, this host after it, and the same as before after the rollback.
pub(crate) fn it_ran_another_system_before(record: &Record) -> Result<()> {
    let upgrade = facts(&record.upgrade, "the upgrade")?;
    let running = |switched| -> Result<_> {
        let switched: &coldproof_evidence::lifecycle::SwitchedTo = facts(switched, "one of the switches")?;
        switched.system.running_system.clone().context("no system was running")
    };
    let (before, after, back) =
        (running(&upgrade.to_previous)?, running(&upgrade.to_this)?, running(&upgrade.rolled_back)?);
    ensure!(before != after, "{before} ran before and after the upgrade");
    ensure!(before == back, "{before} ran before the upgrade, and {back} after the rollback");
    Ok(())
}

/// A machine was let in before it ran, with its own memory counted.
pub(crate) fn every_machine_was_let_in(record: &Record) -> Result<()> {
    let admissions = &facts(&record.budget, "the budget")?.admissions;
    ensure!(!admissions.is_empty(), "no machine was let in");
    for admission in admissions {
        let own = admission.running.iter().find(|share| share.name == admission.machine);
        ensure!(own.is_some_and(|own| own.memory_bytes > 0), "{} has no share", admission.machine);
        ensure!(admission.host_bytes > 0, "the host has no memory");
    }
    Ok(())
}

/// The engine named services of the declared stack, and their tasks ran, also after the reboot.
pub(crate) fn every_replica_runs(record: &Record) -> Result<()> {
    let declared = record.expectations.stacks.values().next().context("no stack is declared")?;
    let rebooted = facts(&record.reboot, "the reboot")?.after.as_ref().context("the guest did not come back")?;
    for system in [facts(&record.system, "the guest")?, &rebooted.system] {
        let swarm = facts(&system.swarm, "the swarm")?;
        let running: u64 = swarm.stack(&declared.stack).map(|service| service.running).sum();
        ensure!(running == declared.replicas, "{running} of {} replicas ran: {:?}", declared.replicas, swarm.services);
    }
    Ok(())
}

/// The machine's processes and directories were looked for, and each is gone.
pub(crate) fn everything_was_looked_for_and_is_gone(record: &Record) -> Result<()> {
    let items = &facts(&record.teardown, "the teardown")?.items;
    ensure!(items.len() > 1, "only {} things were looked for", items.len());
    let left: Vec<_> = items.iter().filter(|item| !item.gone).collect();
    ensure!(left.is_empty(), "left: {left:?}");
    Ok(())
}
