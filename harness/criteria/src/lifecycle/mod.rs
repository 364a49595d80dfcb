//! `lifecycle.*`: what has converged stays converged when something is done to its machine.

mod again;
mod restart;

use crate::need::Need;

pub(crate) use restart::{REBOOT, RESIZE};

/// What the criteria that hold again compare with, beside the guest itself.
const COMPARED_WITH: &[Need] = &[Need::System, Need::Sops, Need::Reproduction, Need::Tls, Need::Http];
