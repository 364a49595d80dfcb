//! Where coldproof keeps things on the controller.

use std::{env, ffi::OsString, path::PathBuf};

/// The three directories that outlive a process, each with its own lifetime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What can be made again: images and tools. `COLDPROOF_CACHE`.
    pub cache: PathBuf,
    /// What must survive a reboot of the controller: the ledger and bundles. `COLDPROOF_STATE`.
    pub state: PathBuf,
    /// What must not: sockets, overlays and running machines. `COLDPROOF_RUNTIME`.
    pub runtime: PathBuf,
}

impl Paths {
    /// The directories of this process's user: the system's for root, the XDG base directories
    /// otherwise. Names them only; creates nothing.
    #[must_use]
    pub fn from_env() -> Paths {
        Paths::resolve(rustix::process::geteuid().is_root(), |name| env::var_os(name))
    }

    fn resolve(root: bool, variable: impl Fn(&str) -> Option<OsString>) -> Paths {
        // XDG Base Directory Specification: an empty or relative value counts as unset.
        let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || absolute("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let standard = |system: &str, xdg: &str, fallback: &dyn Fn() -> PathBuf| {
            if root { PathBuf::from(system) } else { absolute(xdg).unwrap_or_else(fallback).join("coldproof") }
        };
        Paths {
            cache: absolute("COLDPROOF_CACHE")
                .unwrap_or_else(|| standard("/var/cache/coldproof", "XDG_CACHE_HOME", &|| home().join(".cache"))),
            state: absolute("COLDPROOF_STATE")
                .unwrap_or_else(|| standard("/var/lib/coldproof", "XDG_STATE_HOME", &|| home().join(".local/state"))),
            // Without a session there is no runtime directory: the cache is at least the user's own.
            runtime: absolute("COLDPROOF_RUNTIME")
                .unwrap_or_else(|| standard("/run/coldproof", "XDG_RUNTIME_DIR", &|| home().join(".cache/run"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::root(true, &[("HOME", "/root"), ("XDG_CACHE_HOME", "/x")], ["/var/cache/coldproof", "/var/lib/coldproof", "/run/coldproof"])]
    #[case::session(false, &[("HOME", "/home/u"), ("XDG_RUNTIME_DIR", "/run/user/7")],
        ["/home/u/.cache/coldproof", "/home/u/.local/state/coldproof", "/run/user/7/coldproof"])]
    #[case::xdg(false, &[("XDG_CACHE_HOME", "/c"), ("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/r")],
        ["/c/coldproof", "/s/coldproof", "/r/coldproof"])]
    #[case::relative_counts_as_unset(false, &[("HOME", "/h"), ("XDG_CACHE_HOME", "c"), ("COLDPROOF_STATE", "")],
        ["/h/.cache/coldproof", "/h/.local/state/coldproof", "/h/.cache/run/coldproof"])]
    #[case::overrides(true, &[("COLDPROOF_CACHE", "/1"), ("COLDPROOF_STATE", "/2"), ("COLDPROOF_RUNTIME", "/3")], ["/1", "/2", "/3"])]
    fn resolves(#[case] root: bool, #[case] variables: &[(&str, &str)], #[case] expected: [&str; 3]) {
        let paths = Paths::resolve(root, |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        });
        let [cache, state, runtime] = expected.map(PathBuf::from);
        assert_eq!(paths, Paths { cache, state, runtime });
    }
}
