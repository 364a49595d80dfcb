//! Which ways of touching a path harm each other.

use coldproof_evidence::ordering::{Access, Effect, TracedUnit};

/// A path that two units touch in ways that depend on who comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The path that is changed.
    pub path: String,
    /// What the first unit of the pair does.
    pub one: Access,
    /// What the second unit does.
    pub other: Access,
}

/// Directories in which everybody has things of their own: to list one while another adds a name is no conflict.
const COMMON: [&str; 11] =
    ["/", "/dev/shm", "/etc", "/home", "/root", "/run", "/run/lock", "/tmp", "/var", "/var/lib", "/var/tmp"];

/// Every path over which the two may harm each other, in the order in which the first one came to it.
pub(super) fn conflicts(one: &TracedUnit, other: &TracedUnit) -> Vec<Conflict> {
    let mut found: Vec<Conflict> = Vec::new();
    for mine in accesses(one) {
        for theirs in accesses(other) {
            if let Some(path) = harm(mine, theirs).or_else(|| harm(theirs, mine))
                && !guarded(mine, theirs)
                && !found.iter().any(|conflict| conflict.path == path)
            {
                found.push(Conflict { path: path.to_owned(), one: mine.clone(), other: theirs.clone() });
            }
        }
    }
    found
}

fn accesses(unit: &TracedUnit) -> impl Iterator<Item = &Access> {
    let private = |path: &str| ["/tmp", "/var/tmp"].iter().any(|tmp| path == *tmp || is_below(path, tmp));
    unit.accesses.iter().filter(move |access| !(unit.private_tmp && private(&access.path)))
}

/// Whether both hold the same file locked, so that they wait for each other.
fn guarded(one: &Access, other: &Access) -> bool {
    one.locks.iter().any(|lock| other.locks.contains(lock))
}

/// The path that `writer` changes to the harm of `other`, if it does.
fn harm<'a>(writer: &'a Access, other: &Access) -> Option<&'a str> {
    let same = writer.path == other.path;
    let below = || is_below(&other.path, &writer.path);
    let lists_it = || {
        let directory = parent(&writer.path);
        other.effect == Effect::List && directory == other.path && !COMMON.contains(&directory)
    };
    let harms = match writer.effect {
        Effect::Read | Effect::List => false,
        // Two that append do not get into each other's way.
        Effect::Append => same && other.effect != Effect::Append,
        Effect::Write => same,
        Effect::Name => same || lists_it(),
        Effect::MakeDirectory => same || (other.missing && below()) || lists_it(),
        Effect::Tree => same || below() || lists_it(),
    };
    harms.then_some(&writer.path)
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use rstest::rstest;

    use super::*;

    fn access(effect: Effect, path: &str) -> Access {
        Access { path: path.into(), effect, call: "openat".into(), missing: false, locks: Vec::new() }
    }

    fn missing(path: &str) -> Access {
        Access { missing: true, ..access(Effect::Read, path) }
    }

    fn locked(effect: Effect, path: &str, lock: &str) -> Access {
        Access { locks: vec![lock.into()], ..access(effect, path) }
    }

    fn unit(accesses: &[Access]) -> TracedUnit {
        TracedUnit { accesses: accesses.to_vec(), ..TracedUnit::default() }
    }

    #[rstest]
    #[case::both_read(access(Effect::Read, "/s/a"), access(Effect::Read, "/s/a"), None)]
    #[case::looked_up_in_vain(missing("/s/a"), access(Effect::Name, "/s/a"), Some("/s/a"))]
    #[case::both_write(access(Effect::Write, "/s/a"), access(Effect::Write, "/s/a"), Some("/s/a"))]
    #[case::other_paths(access(Effect::Write, "/s/a"), access(Effect::Write, "/s/ab"), None)]
    #[case::both_append(access(Effect::Append, "/s/log"), access(Effect::Append, "/s/log"), None)]
    #[case::appended_and_read(access(Effect::Append, "/s/log"), access(Effect::Read, "/s/log"), Some("/s/log"))]
    #[case::tree_replaced(access(Effect::Tree, "/s/a"), access(Effect::Read, "/s/a/b/c"), Some("/s/a"))]
    #[case::directory_made(access(Effect::MakeDirectory, "/s/a"), missing("/s/a/b"), Some("/s/a"))]
    #[case::directory_was_there(access(Effect::MakeDirectory, "/s/a"), access(Effect::Read, "/s/a/b"), None)]
    #[case::listed(access(Effect::Name, "/s/a/b"), access(Effect::List, "/s/a"), Some("/s/a/b"))]
    #[case::listed_below(access(Effect::Name, "/s/a/b/c"), access(Effect::List, "/s/a"), None)]
    #[case::listed_common(access(Effect::Name, "/run/b.pid"), access(Effect::List, "/run"), None)]
    #[case::locked(locked(Effect::Write, "/s/a", "/s/l"), locked(Effect::Write, "/s/a", "/s/l"), None)]
    #[case::other_locks(locked(Effect::Write, "/s/a", "/s/l"), locked(Effect::Write, "/s/a", "/s/m"), Some("/s/a"))]
    #[case::one_locks(locked(Effect::Write, "/s/a", "/s/l"), access(Effect::Read, "/s/a"), Some("/s/a"))]
    fn accesses_conflict(#[case] one: Access, #[case] other: Access, #[case] path: Option<&str>) {
        for (one, other) in [(&one, &other), (&other, &one)] {
            let found = conflicts(&unit(slice::from_ref(one)), &unit(slice::from_ref(other)));
            assert_eq!(found.first().map(|conflict| conflict.path.as_str()), path);
        }
    }

    #[test]
    fn what_is_in_a_private_tmp_is_seen_by_nobody() {
        let mine = unit(&[access(Effect::Write, "/tmp/state"), access(Effect::Write, "/tmpfiles")]);
        let private = TracedUnit { private_tmp: true, ..mine.clone() };
        let paths = |found: Vec<Conflict>| found.into_iter().map(|conflict| conflict.path).collect::<Vec<_>>();
        assert_eq!(paths(conflicts(&mine, &mine)), ["/tmp/state", "/tmpfiles"]);
        assert_eq!(paths(conflicts(&mine, &private)), ["/tmpfiles"]);
    }
}
