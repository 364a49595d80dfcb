//! `source.*`: what git holds, and whether anybody could build from it.

mod repositories;
mod sops;

pub(crate) use repositories::{GITLINK_CURRENT, NO_CREDENTIALS, PRIVATE, RECURSIVE_CLONE};
pub(crate) use sops::{RECIPIENTS_EXACT, SECRETS_ENCRYPTED};
