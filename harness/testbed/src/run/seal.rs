//! The end of a run: nothing runs any more, what was recorded is judged, and the bundle is sealed.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use coldproof_evidence::{
    Observed,
    bundle::SealedBundle,
    served::{TeardownItem, TeardownObservation},
};
use coldproof_machines::receipt::Destroyed;
use zeroize::Zeroizing;

use super::{Phase, Recorded, RunError, progress::millis, record, setting::Setting};

/// Releases everything that the run still holds, judges the record and seals the bundle.
pub(super) fn seal(setting: Setting<'_>, recorded: Recorded) -> Result<SealedBundle, RunError> {
    let Recorded { controller, subject, witness } = recorded;
    let mut record = record(&setting);
    record.source = Observed::of(controller.source);
    record.sops = controller.sops;
    record.blank = subject.blank;
    record.bootstrap = subject.bootstrap;
    record.switch = subject.switch;
    record.system = subject.system;
    record.tls = subject.tls;
    record.http = subject.http;
    record.second_switch = subject.second_switch;
    record.second_system = subject.second_system;
    record.reproduction = witness;
    if subject.captured {
        let captures = captures(&setting.attachments())?;
        record.egress = Observed::of(setting.network.egress(captures.iter().map(PathBuf::as_path)));
    }
    refuse_secrets(&setting)?;

    let out = setting.plan.out.clone();
    let selection = setting.selection.clone();
    fs::rename(&setting.partial, &out).map_err(RunError::io(format!("moving the bundle to {}", out.display())))?;
    let mut receipts = setting.receipts();
    receipts.extend(subject.receipt);
    let (stopwatch, controller_receipt) = setting.release();
    receipts.push(controller_receipt);
    record.teardown = Observed::of(teardown(subject.kept.is_some(), &receipts));

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
        })
    });
    TeardownObservation { kept, items: items.collect() }
}

/// One packet capture for each time that the machine was started.
fn captures(attachments: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut files = list(attachments)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pcap"));
    Ok(files)
}

fn list(attachments: &Path) -> Result<Vec<PathBuf>, RunError> {
    let entries = fs::read_dir(attachments).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    entries.map_err(RunError::io("reading the attachments"))
}

/// A last look at everything that is about to be sealed: the secrets that this process holds must not be in it.
fn refuse_secrets(setting: &Setting<'_>) -> Result<(), RunError> {
    let mut secrets = vec![("age key", Zeroizing::new(setting.key.trim().as_bytes().to_vec()))];
    secrets.extend(setting.network.git().secret().map(|credential| ("git credential", credential)));
    for path in list(&setting.attachments())? {
        if let Some(secret) = holds(&path, &secrets)? {
            return Err(RunError::SecretInEvidence { path, secret: secret.to_owned() });
        }
    }
    Ok(())
}

fn holds(path: &Path, secrets: &[(&'static str, Zeroizing<Vec<u8>>)]) -> Result<Option<&'static str>, RunError> {
    let bytes = fs::read(path).map_err(RunError::io(format!("reading {}", path.display())))?;
    let found = secrets.iter().find(|(_, secret)| contains(&bytes, secret));
    Ok(found.map(|(name, _)| *name))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && bytes.windows(wanted.len()).any(|window| window == wanted)
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
