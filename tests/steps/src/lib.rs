//! Gherkin world and step definitions over the coldproof testbed.

pub mod adapter;
mod error;

pub use error::{StepError, StepResult};
