//! The sops files of the clone.
