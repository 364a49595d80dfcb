//! Failures and gaps in the journal.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail};
use coldproof_evidence::{
    guest::{JournalFailure, JournalObservation},
    rebuild::JobResult,
};
use serde_json::{Map, Value};

use crate::program;

/// Entries are found by the values of indexed fields; a field's mere presence is not indexed.
const JOB_RESULTS: &[&str] = &[
    "done",
    "canceled",
    "timeout",
    "failed",
    "dependency",
    "skipped",
    "invalid",
    "assert",
    "unsupported",
    "collected",
    "once",
    "frozen",
    "concurrency",
];

/// A unit entered the failed state (`SD_MESSAGE_UNIT_FAILURE_RESULT`).
const UNIT_FAILED: &str = "d9b373ed55a64feb8242e02dbe79a49c";
/// journald dropped messages of a service that logged too fast (`SD_MESSAGE_JOURNAL_DROPPED`).
const DROPPED: &str = "a596d6fe7bfa4994828e72309e95d61e";
/// journald could not read the kernel's messages fast enough (`SD_MESSAGE_JOURNAL_MISSED`).
const MISSED: &str = "e9bf28e6e834481bb6f48f548ad13606";

const JOURNALD: &str = "/run/systemd/journal/io.systemd.journal";
/// How long journald may take to catch up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines kept of each failed unit.
const TAIL: usize = 20;

/// What the journal tells since `since_us`.
///
/// That the journal cannot be read is a gap in it: nobody may conclude from its silence that nothing failed.
pub(crate) fn observe(since_us: u64) -> JournalObservation {
    let entries = synchronize()
        .context("journald did not catch up")
        .and_then(|()| read(since_us, &matches(), "UNIT,UNIT_RESULT,JOB_RESULT,MESSAGE,MESSAGE_ID"));
    match entries {
        Ok(entries) => {
            let mut journal = sort(&entries);
            journal.gaps.extend(missing_beginning(since_us, first_entry_us()));
            journal
        }
        Err(error) => {
            let gaps = vec![format!("the journal could not be read: {error:#}")];
            JournalObservation { gaps, ..JournalObservation::default() }
        }
    }
}

/// The last lines of each of `units`, for a person to read.
pub(crate) fn tails(since_us: u64, units: &BTreeSet<&str>) -> BTreeMap<String, Vec<String>> {
    if units.is_empty() {
        return BTreeMap::new();
    }
    let terms: Vec<_> = units.iter().map(|unit| format!("--unit={unit}")).collect();
    match read(since_us, &terms, "UNIT,_SYSTEMD_UNIT,MESSAGE") {
        Ok(entries) => last_lines(&entries),
        Err(error) => {
            eprintln!("observer: no tails of the failed units: {error:#}");
            BTreeMap::new()
        }
    }
}

/// Returns when journald has written down all that it was told before.
///
/// Source: the varlink interface `io.systemd.Journal`, which `journalctl --sync` calls too; messages end with a zero.
fn synchronize() -> anyhow::Result<()> {
    let mut journald = UnixStream::connect(JOURNALD).context(JOURNALD)?;
    journald.set_read_timeout(Some(PATIENCE))?;
    journald.write_all(b"{\"method\":\"io.systemd.Journal.Synchronize\"}\0")?;
    let mut answer = Vec::new();
    BufReader::new(journald).read_until(0, &mut answer)?;
    match serde_json::from_slice::<Map<String, Value>>(answer.strip_suffix(&[0]).unwrap_or(&answer))?.get("error") {
        None => Ok(()),
        Some(error) => bail!("journald answers {error}"),
    }
}

/// journalctl's terms: fields of one term must all match, values of one field are alternatives, `+` is between terms.
fn matches() -> Vec<String> {
    let mut terms = vec!["_PID=1".to_owned()];
    terms.extend(JOB_RESULTS.iter().map(|result| format!("JOB_RESULT={result}")));
    terms.extend(["+", "_PID=1"].map(str::to_owned));
    terms.push(format!("MESSAGE_ID={UNIT_FAILED}"));
    terms.push("+".to_owned());
    terms.extend([DROPPED, MISSED].map(|id| format!("MESSAGE_ID={id}")));
    terms
}

/// The entries since `since_us` that match `terms`, with their time and these fields.
pub(crate) fn read(since_us: u64, terms: &[String], fields: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    let since = format!("--since=@{}.{:06}", since_us / 1_000_000, since_us % 1_000_000);
    let fields = format!("--output-fields={fields}");
    let mut arguments = vec!["--no-pager", "--quiet", "--output=json", &fields, &since];
    arguments.extend(terms.iter().map(String::as_str));
    Ok(entries(&program::output("journalctl", &arguments)?)?)
}

/// What `journalctl --output=json` writes: one document a line.
pub(crate) fn entries(output: &[u8]) -> serde_json::Result<Vec<Map<String, Value>>> {
    let lines = output.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(serde_json::from_slice).collect()
}

/// Sorts entries into failures and gaps. Whether a canceled job matters is not for us to say.
fn sort(entries: &[Map<String, Value>]) -> JournalObservation {
    let mut journal = JournalObservation { entries: entries.len() as u64, ..JournalObservation::default() };
    for entry in entries {
        let message = text(entry, "MESSAGE");
        let failure = |kind: &str, result: String| JournalFailure {
            unit: text(entry, "UNIT"),
            kind: kind.to_owned(),
            result,
            message: message.clone(),
            at_us: text(entry, "__REALTIME_TIMESTAMP").parse().unwrap_or_default(),
        };
        let (id, job, unit_result) = (text(entry, "MESSAGE_ID"), text(entry, "JOB_RESULT"), text(entry, "UNIT_RESULT"));
        if [DROPPED, MISSED].contains(&id.as_str()) {
            journal.gaps.push(message);
        } else if id == UNIT_FAILED {
            journal.failures.push(failure("unit-result", unit_result));
        } else {
            let ended = failure("job-result", job);
            journal.jobs.push(JobResult { unit: ended.unit.clone(), result: ended.result.clone(), at_us: ended.at_us });
            if ended.result != "done" {
                journal.failures.push(ended);
            }
        }
    }
    journal
}

/// The last lines of each unit, those of systemd about it among them.
fn last_lines(entries: &[Map<String, Value>]) -> BTreeMap<String, Vec<String>> {
    let mut tails = BTreeMap::<String, VecDeque<String>>::new();
    for entry in entries {
        let named = [text(entry, "UNIT"), text(entry, "_SYSTEMD_UNIT")];
        let Some(unit) = named.into_iter().find(|unit| !unit.is_empty()) else { continue };
        let tail = tails.entry(unit).or_default();
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text(entry, "MESSAGE"));
    }
    tails.into_iter().map(|(unit, tail)| (unit, tail.into())).collect()
}

/// A field's text. journalctl writes a list of numbers for a value that is no UTF-8, and a list for a repeated field.
pub(crate) fn text(entry: &Map<String, Value>, field: &str) -> String {
    match entry.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => {
            let bytes: Option<Vec<u8>> = list.iter().map(|byte| byte.as_u64()?.try_into().ok()).collect();
            let first = || list.first().and_then(Value::as_str).unwrap_or_default().to_owned();
            bytes.map_or_else(first, |bytes| String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => String::new(),
    }
}

fn missing_beginning(since_us: u64, first_us: Option<u64>) -> Option<String> {
    match first_us {
        None => Some("there is no journal of the system".to_owned()),
        Some(first) if first > since_us => {
            Some(format!("the journal begins {} ms too late: older entries were dropped", (first - since_us) / 1000))
        }
        Some(_) => None,
    }
}

/// Realtime of the oldest entry in any of the system's journal files.
fn first_entry_us() -> Option<u64> {
    let files = ["/run/log/journal", "/var/log/journal"].into_iter().flat_map(|root| {
        let machines = fs::read_dir(root).into_iter().flatten().flatten();
        machines.flat_map(|machine| fs::read_dir(machine.path()).into_iter().flatten().flatten())
    });
    let system = files.filter(|file| file.file_name().to_string_lossy().starts_with("system"));
    system.filter_map(|file| head_realtime(&file.path())).min()
}

/// `head_entry_realtime` of a journal file's header; none if the file is none or empty.
///
/// Source: systemd's "Journal File Format", Header: the field is the 64 bits at offset 184.
fn head_realtime(path: &Path) -> Option<u64> {
    let mut header = [0; 192];
    fs::File::open(path).ok()?.read_exact(&mut header).ok()?;
    let realtime = u64::from_le_bytes(header[184..].try_into().ok()?);
    (header.starts_with(b"LPKSHHRH") && realtime > 0).then_some(realtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: &str = r#"
{"__REALTIME_TIMESTAMP":"10","MESSAGE":"Finished a.","UNIT":"a.service","JOB_RESULT":"done","MESSAGE_ID":"39f53479d3a045ac8e11786248231fbf"}
{"__REALTIME_TIMESTAMP":"11","MESSAGE":"b.service: Failed with result 'exit-code'.","UNIT":"b.service","UNIT_RESULT":"exit-code","MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c"}
{"__REALTIME_TIMESTAMP":"12","MESSAGE":[70,97,255],"UNIT":["b.service","c.service"],"JOB_RESULT":"failed"}
{"__REALTIME_TIMESTAMP":"13","MESSAGE":"Suppressed 7 messages from /system.slice/d.service","MESSAGE_ID":"a596d6fe7bfa4994828e72309e95d61e"}
{"__REALTIME_TIMESTAMP":"14","MESSAGE":"Missed 3 kernel messages","MESSAGE_ID":"e9bf28e6e834481bb6f48f548ad13606"}
"#;

    #[test]
    fn failures_and_gaps_are_told_apart() {
        let journal = sort(&entries(ENTRIES.as_bytes()).unwrap());
        assert_eq!(journal.entries, 5);
        assert_eq!(journal.gaps, ["Suppressed 7 messages from /system.slice/d.service", "Missed 3 kernel messages"]);
        let failures: Vec<_> =
            journal.failures.iter().map(|f| (f.unit.as_str(), f.kind.as_str(), f.result.as_str(), f.at_us)).collect();
        assert_eq!(
            failures,
            [("b.service", "unit-result", "exit-code", 11), ("b.service", "job-result", "failed", 12)]
        );
        assert_eq!(journal.failures[1].message, "Fa\u{fffd}");
        let jobs: Vec<_> = journal.jobs.iter().map(|job| (job.unit.as_str(), job.result.as_str(), job.at_us)).collect();
        assert_eq!(jobs, [("a.service", "done", 10), ("b.service", "failed", 12)]);
    }

    #[test]
    fn a_tail_has_the_last_lines_of_its_unit() {
        let lines: String = (0..30)
            .map(|n| format!("{{\"_SYSTEMD_UNIT\":\"b.service\",\"MESSAGE\":\"line {n}\"}}\n"))
            .chain(["{\"_SYSTEMD_UNIT\":\"init.scope\",\"UNIT\":\"b.service\",\"MESSAGE\":\"Failed.\"}".to_owned()])
            .collect();
        let tails = last_lines(&entries(lines.as_bytes()).unwrap());
        let tail = &tails["b.service"];
        assert_eq!((tail.len(), tail[0].as_str(), tail[TAIL - 1].as_str()), (TAIL, "line 11", "Failed."));
    }

    #[test]
    fn a_journal_that_begins_too_late_is_a_gap() {
        assert!(missing_beginning(1_000_000, None).is_some());
        assert!(missing_beginning(1_000_000, Some(2_000_000)).unwrap().contains("1000 ms too late"));
        assert_eq!(missing_beginning(1_000_000, Some(1_000_000)), None);
    }

    #[test]
    fn the_header_of_a_journal_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("system.journal");
        let mut header = b"LPKSHHRH".to_vec();
        header.resize(184, 0);
        header.extend(17_u64.to_le_bytes());
        fs::write(&path, &header).unwrap();
        assert_eq!(head_realtime(&path), Some(17));
        fs::write(&path, &header[1..]).unwrap();
        assert_eq!(head_realtime(&path), None);
    }
}
