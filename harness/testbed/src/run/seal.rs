//! The end of a run: nothing runs any more, what was recorded is judged, and the bundle is sealed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use coldproof_criteria::Need;
use coldproof_evidence::{
    Observed, Record,
    bundle::SealedBundle,
    leaks::LeaksObservation,
    served::{TeardownItem, TeardownObservation},
};
use coldproof_machines::receipt::Destroyed;

use super::{Phase, Recorded, RunError, known::files_in, progress::millis, record, setting::Setting};

/// Releases everything that the run still holds, judges the record and seals the bundle.
pub(super) fn seal(setting: Setting<'_>, recorded: Recorded) -> Result<SealedBundle, RunError> {
    let Recorded { controller, subject, witness, upgrade, deprived, ordering } = recorded;
    let mut record = record(&setting);
    record.source = Observed::of(controller.source);
    record.sops = controller.sops;
    record.blank = subject.blank;
    record.bootstrap = subject.bootstrap;
    record.switch = subject.switch;
    record.system = subject.system;
    record.leaks = subject.leaks;
    record.tls = subject.tls;
    record.http = subject.http;
    record.original = subject.original;
    record.missing_key = deprived.missing_key;
    record.wrong_key = deprived.wrong_key;
    record.missing_certificate = deprived.missing_certificate;
    record.second_switch = subject.second_switch;
    record.second_system = subject.second_system;
    record.upgrade = upgrade;
    record.reboot = subject.reboot;
    record.resize = subject.resize;
    record.reproduction = witness.reproduction;
    record.repeated_builds = witness.repeated_builds;
    record.source_forms = witness.source_forms;
    record.ordering = ordering;
    if subject.captured {
        let captures = captures(&setting.attachments())?;
        record.egress = Observed::of(setting.network.egress(captures.iter().map(PathBuf::as_path)));
    }
    let mut receipts = setting.receipts();
    receipts.extend(subject.receipt);
    if setting.selection.needs(Need::Budget) {
        record.budget = setting.beside.observation(&receipts);
    }
    record.own_leaks = own_leaks(&setting, &subject.argv, &mut record)?;

    let out = setting.plan.out.clone();
    let selection = setting.selection.clone();
    fs::rename(&setting.partial, &out).map_err(RunError::io(format!("moving the bundle to {}", out.display())))?;
    let (stopwatch, controller_receipt) = setting.release();
    receipts.push(controller_receipt);
    record.teardown = match subject.unseen_end {
        Some(cause) => Observed::Unavailable { cause },
        None => Observed::of(teardown(subject.kept.is_some(), &receipts)),
    };

    let judging = Instant::now();
    let findings = coldproof_criteria::judge_selected(&record, |criterion| selection.contains(criterion));
    stopwatch.record(Phase::Judge, millis(judging));
    record.context.timings_ms = stopwatch.timings();
    record.context.harness_peak_bytes =
        fs::read_to_string("/proc/self/status").ok().and_then(|text| peak_memory(&text));
    Ok(SealedBundle::seal(&out, record, findings)?)
}

/// `VmHWM`, in bytes.
fn peak_memory(status: &str) -> Option<u64> {
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix("kB")?;
    kibibytes.trim().parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

fn teardown(kept: bool, receipts: &[Destroyed]) -> TeardownObservation {
    let items = receipts.iter().flat_map(|receipt| {
        receipt.resources.iter().map(|resource| TeardownItem {
            kind: resource.kind.to_string(),
            what: format!("{}: {}", receipt.machine, resource.name),
            gone: resource.gone,
            reason: resource.reason.clone(),
        })
    });
    TeardownObservation { kept, items: items.collect() }
}

/// One packet capture for each time that the machine was started.
fn captures(attachments: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut files = files_in(attachments)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pcap"));
    Ok(files)
}

/// A last look at everything that is about to be sealed: what secrets are in it are taken out, and told of.
fn own_leaks(
    setting: &Setting<'_>,
    argv: &[String],
    record: &mut Record,
) -> Result<Observed<LeaksObservation>, RunError> {
    let Some(known) = setting.known() else { return Ok(Observed::NotObserved) };
    let mut search = known.search();
    search.words("the machine's command line", argv.iter().map(String::as_str));
    search.clean_files(&files_in(&setting.attachments())?)?;
    search.clean("source", &mut record.source);
    search.clean("sops", &mut record.sops);
    search.clean("blank", &mut record.blank);
    search.clean("bootstrap", &mut record.bootstrap);
    search.clean("switch", &mut record.switch);
    search.clean("system", &mut record.system);
    search.clean("leaks", &mut record.leaks);
    search.clean("tls", &mut record.tls);
    search.clean("http", &mut record.http);
    search.clean("original", &mut record.original);
    search.clean("reproduction", &mut record.reproduction);
    search.clean("repeated builds", &mut record.repeated_builds);
    search.clean("source forms", &mut record.source_forms);
    search.clean("second switch", &mut record.second_switch);
    search.clean("second system", &mut record.second_system);
    search.clean("missing key", &mut record.missing_key);
    search.clean("wrong key", &mut record.wrong_key);
    search.clean("missing certificate", &mut record.missing_certificate);
    search.clean("reboot", &mut record.reboot);
    search.clean("resize", &mut record.resize);
    search.clean("upgrade", &mut record.upgrade);
    search.clean("egress", &mut record.egress);
    search.clean("budget", &mut record.budget);
    if let Some(clean) = search.cleaned("expectations", &record.expectations) {
        record.expectations = clean;
    }
    if let Some(clean) = search.cleaned("context", &record.context) {
        record.context = clean;
    }
    Ok(Observed::of(search.into_observation()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_memory_is_read() {
        assert_eq!(peak_memory("Name:\tcoldproof\nVmPeak:\t  99 kB\nVmHWM:\t   43012 kB\n"), Some(43_012 << 10));
        assert_eq!(peak_memory("Name:\tcoldproof\n"), None);
    }
}
