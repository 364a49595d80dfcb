//! The proof of the proof: what each seeded fault must bring about, against what it did.
//!
//! Data in, data or text out, as in the verdict: nothing here makes a machine. A fault is caught if exactly those criteria
//! fail that it lists. What it keeps from being judged may be inconclusive; infrastructure trouble never counts as caught.

mod compare;
mod matrix;
mod page;
mod parity;
mod select;
mod text;
mod trial;

pub use compare::{Deviation, compare};
pub use matrix::Matrix;
pub use page::page;
pub use parity::{Compared, Parity, ParityError, parity};
pub use select::{SelectError, select};
pub use text::render;
pub use trial::{CLEAN, Outcome, Trial};
