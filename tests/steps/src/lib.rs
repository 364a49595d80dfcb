//! Gherkin world and step definitions over the coldproof testbed.

pub mod adapter;
mod error;
pub mod shared;

pub use error::{StepError, StepResult};
