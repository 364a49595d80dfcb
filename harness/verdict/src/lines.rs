//! Lines of a report that may be longer than a terminal is wide, and what they say of time and memory.

use std::collections::BTreeMap;

use crate::Usage;

/// What every terminal shows without breaking a line.
const WIDTH: usize = 80;
/// Phases that run beside the life of the subject machine.
const BESIDE: [&str; 5] = ["missing_certificate", "missing_key", "reproduce", "source", "wrong_key"];

/// `head` and the items, broken between items where the line would get too long.
pub(crate) fn wrapped(head: &str, items: &[String], separator: &str) -> String {
    let mut text = head.to_owned();
    let mut column = head.chars().count();
    for (position, item) in items.iter().enumerate() {
        let separator = if position == 0 { "" } else { separator };
        let width = separator.chars().count() + item.chars().count();
        if position > 0 && column + width > WIDTH {
            text += separator.trim_end_matches([' ', '·']);
            text += "\n  ";
            column = 2 + item.chars().count();
        } else {
            text += separator;
            column += width;
        }
        text += item;
    }
    text
}

/// A list, or `nothing`. Items may hold commas themselves.
pub(crate) fn listed(head: &str, items: &[String]) -> String {
    if items.is_empty() { format!("{head}nothing") } else { wrapped(head, items, "; ") }
}

pub(crate) fn used(usage: &Usage) -> Vec<String> {
    let memory = usage.memory_peak_bytes.map(|bytes| format!("{} of memory at most", mebibytes(bytes)));
    let disk = usage.disk_peak_bytes.map(|bytes| format!("{} of disk", mebibytes(bytes)));
    let cpu = format!("{} s of CPU time", seconds(usage.cpu_ms));
    memory.into_iter().chain([cpu]).chain(disk).collect()
}

/// Where the time went, the longest phase first; none where nothing was timed.
pub(crate) fn time(timings: &BTreeMap<String, u64>) -> Option<String> {
    let total = *timings.get("total_ms").filter(|total| **total > 0)?;
    let phases = timings.iter().filter_map(|(name, spent)| Some((name.strip_suffix("_ms")?, *spent)));
    let mut phases: Vec<_> = phases.filter(|(name, spent)| *name != "total" && *spent >= 50).collect();
    phases.sort_by_key(|(_, spent)| std::cmp::Reverse(*spent));
    let (beside, after): (Vec<_>, Vec<_>) = phases.into_iter().partition(|(name, _)| BESIDE.contains(name));
    let spent = |(name, spent): (&str, u64)| format!("{name} {}", seconds(spent));
    let mut items: Vec<String> = after.into_iter().map(spent).collect();
    let beside: Vec<String> = beside.into_iter().map(spent).collect();
    if items.is_empty() {
        items = beside;
    } else if !beside.is_empty() {
        items.push(format!("and beside these {}", beside.join(", ")));
    }
    Some(wrapped(&format!("time: {} s: ", seconds(total)), &items, ", "))
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// Seconds with one decimal.
fn seconds(milliseconds: u64) -> String {
    let tenths = (milliseconds + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_between_its_items() {
        let items =
            ["cc-ci", "coldproof-reference-1", "qemu", "forked from the blank stage", "image sha256:ae0bd62026e6…"];
        let text = wrapped("", &items.map(str::to_owned), " · ");
        insta::assert_snapshot!(text, @r"
        cc-ci · coldproof-reference-1 · qemu · forked from the blank stage
          image sha256:ae0bd62026e6…
        ");
        assert_eq!(listed("delivered from outside: ", &[]), "delivered from outside: nothing");
    }

    #[test]
    fn the_longest_phase_comes_first() {
        let timings =
            [("total_ms", 23_700), ("switch_ms", 9_820), ("judge_ms", 3), ("reproduce_ms", 9_800), ("boot_ms", 1_570)];
        let timings = timings.map(|(name, spent)| (name.to_owned(), spent)).into();
        assert_eq!(time(&timings).unwrap(), "time: 23.7 s: switch 9.8, boot 1.6, and beside these reproduce 9.8");
        assert_eq!(time(&BTreeMap::new()), None);
    }
}
