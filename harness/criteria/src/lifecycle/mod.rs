//! `lifecycle.*`: what has converged stays converged when something is done to its machine.

mod again;
mod restart;
mod upgrade;

use coldproof_evidence::Record;

use crate::need::Need;

pub(crate) use restart::{REBOOT, RESIZE};
pub(crate) use upgrade::UPGRADE;

/// What the criteria that hold again compare with, beside the guest itself.
const COMPARED_WITH: &[Need] = &[Need::System, Need::Sops, Need::Reproduction, Need::Tls, Need::Http];

/// The states before anything was done to the machine: after the first switch and after the second.
fn earlier(record: &Record) -> Vec<Record> {
    let second = record.second_system.facts().map(|second| again::seen(record, second));
    [record.clone()].into_iter().chain(second).collect()
}
