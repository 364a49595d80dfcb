//! Paths, each tied to the place that it belongs to: the guest, the repository or the Nix store.

use std::fmt;

use serde::Deserialize;

use super::values::{ValueError, checked_text};

/// Whether `text` climbs out of where it starts, or names one place in two ways.
fn is_plain(text: &str) -> bool {
    !text.contains(['\0', '\n']) && text.split('/').all(|part| part != ".." && part != ".")
}

checked_text!(
    /// An absolute path in the guest.
    GuestPath,
    |text| {
        if text.len() > 1 && text.starts_with('/') && is_plain(text) {
            return Ok(());
        }
        Err(ValueError::new(
            format!("`{text}` is no absolute path"),
            "write the path in the guest from `/` on, without `.` and `..`",
        ))
    }
);

checked_text!(
    /// A path relative to the repository's root; `.` is the root itself.
    RepositoryPath,
    |text| {
        let inside = !text.is_empty() && !text.starts_with(['/', '-']) && is_plain(text);
        if text == "." || inside {
            return Ok(());
        }
        Err(ValueError::new(
            format!("`{text}` is no path inside the repository"),
            "write it relative to the repository's root, without `.` and `..`",
        ))
    }
);

checked_text!(
    /// A path right under `/nix/store`.
    StorePath,
    |text| {
        // Nix's base-32 hash of 160 bits has 32 characters; a dash and the name follow.
        let name = text.strip_prefix("/nix/store/").unwrap_or_default();
        let hash = name.split('-').next().unwrap_or_default();
        let hashed = hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if hashed && name.len() > 33 && !name.contains('/') {
            return Ok(());
        }
        Err(ValueError::new(
            format!("`{text}` is no store path"),
            "write what `readlink -f /run/current-system` says on the original host",
        ))
    }
);

impl Default for RepositoryPath {
    /// The repository's root.
    fn default() -> Self {
        Self(".".to_owned())
    }
}
