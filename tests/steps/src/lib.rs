//! Gherkin world and step definitions over the coldproof testbed.
//!
//! A test binary of one's own needs a `main` that calls [`dispatch`] and then [`adapter::main`] with a World: [`Proof`]
//! for the steps of this crate, or one that has further steps.

pub mod adapter;
mod command;
mod error;
mod facts;
mod finding;
mod glossary;
pub mod home;
pub mod nightly;
mod processes;
mod record;
pub mod shared;
#[cfg(test)]
mod specification;
mod stage;
mod steps;
pub mod testbed;
mod world;

pub use command::use_command;
pub use error::{StepError, StepResult};
pub use world::Proof;

/// Runs the helper processes of machines and of the shared directory; the first call in `main`.
pub fn dispatch() {
    coldproof_testbed::dispatch();
    shared::dispatch();
}
