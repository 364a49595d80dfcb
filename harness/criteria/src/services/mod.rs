//! `services.*`: what the host is for.

mod http;
mod stacks;
mod units;

pub(crate) use http::HTTP;
pub(crate) use stacks::{STACKS, changes};
pub(crate) use units::UNITS;
