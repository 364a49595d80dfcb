//! `identity.*`: what runs is what git builds, byte for byte.

mod builds;
mod closure;
mod original;

pub(crate) use builds::{DETERMINISTIC, SOURCE_FORMS};
pub(crate) use closure::{CONTENTS, REPRODUCED, TOPLEVEL, toplevel_agrees};
pub(crate) use original::ORIGINAL;
