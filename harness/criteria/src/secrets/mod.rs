//! `secrets.*`: secrets are where they belong, and a switch that cannot have them says so.

mod loud;
mod values;

pub(crate) use loud::{MISSING_CERTIFICATE, MISSING_KEY, WRONG_KEY};
pub(crate) use values::{EACH_RECIPIENT, IN_PLACE, MODES, as_declared, values};
