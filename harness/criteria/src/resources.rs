//! `resources.*`: the rebuild fits the machine that is declared for it.

use coldproof_evidence::{Mismatch, Record};

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const PEAK_MEMORY: Criterion = Criterion::new(
    "resources.peak-memory",
    "at no time of the first switch is less than a sixteenth of the declared memory available",
    &[Need::Switch],
    peak_memory,
);

pub(crate) const PEAK_DISK: Criterion = Criterion::new(
    "resources.peak-disk",
    "at no time of the first switch is less than a sixteenth of the declared disk free",
    &[Need::Switch],
    peak_disk,
);

/// What must stay free of memory and disk, as a share: below it, Linux begins to reclaim and file systems to fragment,
/// and the next revision, a little larger, does not fit any more.
const RESERVE: u64 = 16;

/// One kind of room on the machine, in bytes.
struct Room {
    what: &'static str,
    declared: u64,
    /// The least that was left of it at any time.
    least_left: Option<u64>,
    /// The most that the rebuild used of it.
    most_used: Option<u64>,
    remedy: &'static str,
}

fn peak_memory(record: &Record) -> Option<Judgement> {
    let switch = record.switch.facts()?;
    Some(judge(&Room {
        what: "memory",
        declared: record.expectations.machine.memory_bytes,
        // The kernel always says how much is available; none at all means that it was not read.
        least_left: Some(switch.least_available_bytes).filter(|&least| least > 0),
        most_used: switch.memory_peak_bytes,
        remedy: "find what takes it with `systemd-cgtop` while it switches, or declare more `memory` under [machine]",
    }))
}

fn peak_disk(record: &Record) -> Option<Judgement> {
    let switch = record.switch.facts()?;
    Some(judge(&Room {
        what: "disk",
        declared: record.expectations.machine.disk_bytes,
        least_left: switch.least_free_bytes,
        most_used: switch.disk_peak_bytes,
        remedy: "`nix path-info --recursive --size` shows what is large; or declare a larger `disk` under [machine]",
    }))
}

fn judge(room: &Room) -> Judgement {
    let Room { what, declared, least_left, most_used, .. } = *room;
    let mut judgement = Judgement::new(format!("the host definition declares no {what}"));
    if declared == 0 {
        return judgement;
    }
    let reserve = declared / RESERVE;
    match (least_left, most_used) {
        // What is left is that of the machine, unless it is more than the machine has: a container sees its host's.
        (Some(left), _) if left <= declared => judgement.subject((left < reserve).then(|| too_little(room, left))),
        (Some(_), Some(used)) => judgement.subject((used > declared - reserve).then(|| too_much(room, used))),
        _ => judgement.doubt(format!("nothing told how much {what} the switch left")),
    }
    judgement
}

fn too_little(room: &Room, left: u64) -> Mismatch {
    mismatch(
        format!("{} left during the switch", room.what),
        format!("at least {} of {}", mebibytes(room.declared / RESERVE), mebibytes(room.declared)),
        mebibytes(left),
        room.remedy,
    )
}

fn too_much(room: &Room, used: u64) -> Mismatch {
    mismatch(
        format!("{} used by the switch", room.what),
        format!("at most {} of {}", mebibytes(room.declared - room.declared / RESERVE), mebibytes(room.declared)),
        mebibytes(used),
        room.remedy,
    )
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
