//! The marks that tell our instances from everybody else's.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const OWNER: &str = "user.coldproof.owner";
const RUN: &str = "user.coldproof.run";
const NONCE: &str = "user.coldproof.nonce";
const EXPIRES: &str = "user.coldproof.expires";

/// What every instance of ours carries in its configuration. Names can clash; a mark cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The SHA-256 of the client certificate that made it.
    pub owner: String,
    /// The run that it is for.
    pub run: String,
    /// Random, and different for each instance.
    pub nonce: String,
    /// When anybody of ours may remove it, in seconds since 1970.
    pub expires: u64,
}

impl Mark {
    /// A mark that expires `life` from now.
    pub fn new(owner: &str, run: &str, nonce: &str, life: Duration) -> Self {
        Self { owner: owner.into(), run: run.into(), nonce: nonce.into(), expires: now() + life.as_secs() }
    }

    /// The mark in an instance's configuration, if all of it is there.
    pub fn read(config: &BTreeMap<String, String>) -> Option<Self> {
        let of = |key: &str| config.get(key).cloned();
        Some(Self { owner: of(OWNER)?, run: of(RUN)?, nonce: of(NONCE)?, expires: of(EXPIRES)?.parse().ok()? })
    }

    /// As configuration keys, all of which are strings.
    pub(crate) fn write(&self) -> [(String, String); 4] {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        [
            pair(OWNER, &self.owner),
            pair(RUN, &self.run),
            pair(NONCE, &self.nonce),
            pair(EXPIRES, &self.expires.to_string()),
        ]
    }

    /// Whether its time is over.
    pub fn has_expired(&self) -> bool {
        self.expires < now()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_half_a_mark_is_none() {
        let mark = Mark::new("o", "r", "n", Duration::from_secs(60));
        let mut config = BTreeMap::from(mark.write());
        assert_eq!(Mark::read(&config), Some(mark.clone()));
        assert!(!mark.has_expired() && Mark { expires: 1, ..mark }.has_expired());
        config.remove(NONCE);
        assert_eq!(Mark::read(&config), None);
    }
}
