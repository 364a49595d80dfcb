//! The verdict over a record's findings, and its two forms: the JSON document and the text for a person.
//!
//! Data in, data or text out. Nothing here does I/O, and nothing here links a machine: whoever has a sealed bundle can
//! come to the same verdict.

mod lines;
mod policy;
mod report;
mod text;

pub use policy::{Policy, Verdict};
pub use report::{Closure, CriterionReport, Report, Usage};
pub use text::render;
