//! What `observer leaks` is asked, on its standard input.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// One request of `observer leaks`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LeaksRequest {
    /// What is looked for.
    pub secrets: Vec<Secret>,
}
