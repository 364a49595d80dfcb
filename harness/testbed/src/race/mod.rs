//! From strace's output to what a unit touched. Pure: who makes the trace is [`crate::run`]'s business.

mod access;
mod line;
mod processes;

pub(crate) use access::{keep_shared, summarise};
pub(crate) use line::Call;
pub(crate) use processes::calls;
