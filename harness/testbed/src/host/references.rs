//! What a host definition refers to by name: revisions, network names, units, criteria, waivers and recipients.

use std::{fmt, net::IpAddr};

use rustls::pki_types;
use serde::Deserialize;

use super::values::{ValueError, checked_text};

checked_text!(
    /// A branch, tag or commit.
    Revision,
    |text| {
        // `git check-ref-format`: none of these may be in a ref; a leading dash would be taken for an option.
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
        if text.is_empty() {
            return Err(ValueError::new("the revision is empty", "name a branch, a tag or a commit"));
        }
        if text.starts_with('-') || text.contains(forbidden) || text.contains("..") {
            return Err(ValueError::new(
                format!("`{text}` is no revision"),
                "name one branch, one tag or one commit, without `^`, `~` or a range",
            ));
        }
        Ok(())
    }
);

checked_text!(
    /// A full commit hash.
    Commit,
    |text| {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && matches!(text.len(), 40 | 64) {
            return Ok(());
        }
        Err(ValueError::new(
            format!("`{text}` is no full commit hash"),
            "write all 40 hex digits, as `git rev-parse` prints them",
        ))
    }
);

checked_text!(
    /// A DNS name that a client can ask for, in lower case.
    HostName,
    |text| {
        if text.parse::<IpAddr>().is_ok() {
            return Err(ValueError::new(
                format!("`{text}` is an address, not a name"),
                "name what clients ask for; the address is always the machine's own",
            ));
        }
        if let Some(parent) = text.strip_prefix("*.") {
            return Err(ValueError::new(
                format!("`{text}` is a pattern, not a name"),
                format!("name a host under it; `wildcard-probe = true` adds a random one under {parent}"),
            ));
        }
        let dotted = text.contains('.') && !text.ends_with('.');
        if dotted && text == text.to_lowercase() && pki_types::DnsName::try_from(text).is_ok() {
            return Ok(());
        }
        Err(ValueError::new(
            format!("`{text}` is no full DNS name"),
            "write it whole and in lower case, without a trailing dot, for instance \"ci.example.org\"",
        ))
    }
);

checked_text!(
    /// A destination that the guest may reach: `host:port`, a name or address and a port.
    Destination,
    |text| {
        let host_fits = |host: &str| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            bare.parse::<IpAddr>().is_ok() || pki_types::DnsName::try_from(host).is_ok()
        };
        match text.rsplit_once(':') {
            Some((host, port)) if host_fits(host) && port.parse::<u16>().is_ok_and(|p| p > 0) => Ok(()),
            _ => Err(ValueError::new(
                format!("`{text}` is no destination"),
                "write `host:port`, for instance \"git.example.org:443\"",
            )),
        }
    }
);

checked_text!(
    /// The full name of a systemd unit.
    UnitName,
    |text| {
        const KINDS: [&str; 9] =
            ["service", "socket", "target", "timer", "mount", "automount", "path", "swap", "slice"];
        let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        let kind = text.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, kind)| kind);
        if text.chars().all(fits) && kind.is_some_and(|kind| KINDS.contains(&kind)) {
            return Ok(());
        }
        Err(ValueError::new(
            format!("`{text}` is no unit"),
            format!("write its full name, for instance \"{}.service\"", text.split('.').next().unwrap_or("nginx")),
        ))
    }
);

checked_text!(
    /// A glob over names of criteria, for instance `convergence.*`.
    CriterionGlob,
    |text| check_glob(text, "write a criterion's name or a glob over them, for instance \"convergence.*\"")
);

checked_text!(
    /// What `coverage.complete` need not find declared: `unit:NAME`, `secret:NAME`, `sops-key:FILE#KEY` or
    /// `listener:PORT` or `stack:NAME`, where a name may be a glob; and `source-form:path`, for `identity.source-forms`.
    Waived,
    |text| {
        let remedy = "write unit:NAME, secret:NAME, sops-key:FILE#KEY, listener:PORT, stack:NAME or source-form:path";
        let good = match text.split_once(':') {
            Some(("unit" | "secret" | "stack", name)) => return check_glob(name, remedy),
            Some(("sops-key", place)) => {
                matches!(place.split_once('#'), Some((file, key)) if !file.is_empty() && !key.is_empty())
            }
            Some(("listener", port)) => port.parse::<u16>().is_ok_and(|port| port > 0),
            Some(("source-form", scheme)) => scheme == "path",
            _ => false,
        };
        if good {
            return Ok(());
        }
        Err(ValueError::new(format!("`{text}` names nothing that can be waived"), remedy))
    }
);

checked_text!(
    /// A glob over paths or units under `[ordering]`, for instance `/var/lib/ci/*`.
    SharedGlob,
    |text| check_glob(text, "write a path or a unit's name, or a glob over them, for instance \"/var/lib/ci/*\"")
);

fn check_glob(text: &str, remedy: &str) -> Result<(), ValueError> {
    if text.is_empty() {
        return Err(ValueError::new("the name is empty", remedy));
    }
    globset::Glob::new(text)
        .map(drop)
        .map_err(|error| ValueError::new(format!("`{text}` is no glob: {}", error.kind()), remedy))
}

checked_text!(
    /// An age X25519 recipient: the public half of an age key, `age1…`.
    AgeRecipient,
    |text| {
        if text.starts_with("AGE-SECRET-KEY-") {
            // Not repeated here: it is a secret.
            return Err(ValueError::new(
                "this is a private key",
                "replace the key, which is no longer secret, and write its public half, which `age-keygen -y` prints",
            ));
        }
        text.parse::<age::x25519::Recipient>().map(drop).map_err(|error| {
            ValueError::new(
                format!("`{text}` is no age recipient: {error}"),
                "write the public half, `age1…`, which `age-keygen -y` prints",
            )
        })
    }
);
