//! What system calls do to paths.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use coldproof_evidence::ordering::{Access, Effect, TracedUnit};

use super::{
    Call,
    line::Returned,
    processes::{Located, absolute, locked},
};

/// Trees that are the kernel's, that never change, or in which systemd and the harness talk to a unit.
const IGNORED: [&str; 8] =
    ["/proc", "/sys", "/nix/store", "/run/systemd", "/run/udev", "/run/coldproof-race", "/run/coldproof", "/run/dbus"];

/// What a unit did: each way of touching a path once, in the order of the first time, and how many paths in all.
pub(crate) fn summarise(calls: &[Located]) -> (Vec<Access>, usize) {
    let lock_files: BTreeSet<String> = calls.iter().filter_map(|located| locked(&located.call)).collect();
    let mut accesses: Vec<Access> = Vec::new();
    let mut known: HashMap<(String, Effect, bool), usize> = HashMap::new();
    for located in calls {
        for (path, effect, missing) in effects(located) {
            if is_ignored(&path) || lock_files.contains(&path) {
                continue;
            }
            let key = (path, effect, missing);
            if let Some(&index) = known.get(&key) {
                // Once without the lock is without the lock.
                accesses[index].locks.retain(|lock| located.locks.contains(lock));
                continue;
            }
            known.insert(key.clone(), accesses.len());
            let (path, ..) = key;
            accesses.push(Access {
                path,
                effect,
                call: located.call.name.clone(),
                missing,
                locks: located.locks.clone(),
            });
        }
    }
    let touched: BTreeSet<_> = accesses.iter().map(|access| access.path.as_str()).collect();
    let touched = touched.len();
    (accesses, touched)
}

fn is_ignored(path: &str) -> bool {
    let device = is_at_or_below(path, "/dev") && !is_at_or_below(path, "/dev/shm");
    device || IGNORED.iter().any(|tree| is_at_or_below(path, tree))
}

fn is_at_or_below(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Each path that the call is about, what it does to it, and whether it is not there.
fn effects(located: &Located) -> Vec<(String, Effect, bool)> {
    let call = &located.call;
    let missing = call.failed_with("ENOENT") || call.failed_with("ENOTDIR");
    let named = |(directory, name, effect): (Option<usize>, usize, Effect)| {
        let directory = directory.and_then(|index| call.descriptor(index)).unwrap_or_else(|| located.directory.clone());
        let path = absolute(&directory, &call.string(name).unwrap_or_default());
        (path, if call.succeeded() { effect } else { Effect::Read }, missing)
    };
    match call.name.as_str() {
        "open" | "openat" | "openat2" | "creat" => {
            let directory = (call.name.starts_with("openat")).then_some(0);
            let (path, effect, missing) = named((directory, usize::from(directory.is_some()), opening(call)));
            // strace tells where links led to.
            let path = if let Returned::Value(_, Some(opened)) = &call.returned { opened.clone() } else { path };
            vec![(path, effect, missing)]
        }
        "getdents64" => call.descriptor(0).map(|path| (path, Effect::List, false)).into_iter().collect(),
        "bind" | "connect" => {
            let is_bound = call.name == "bind" && call.succeeded();
            let effect = if is_bound { Effect::Name } else { Effect::Read };
            let path = call.string(1).filter(|path| path.starts_with('/'));
            path.map(|path| (absolute("/", &path), effect, missing)).into_iter().collect()
        }
        name => positions(name).into_iter().map(named).collect(),
    }
}

fn opening(call: &Call) -> Effect {
    let writes = call.name == "creat" || call.has("O_WRONLY") || call.has("O_RDWR") || call.has("O_TRUNC");
    if call.has("O_PATH") || call.has("O_TMPFILE") || !writes {
        Effect::Read
    } else if call.has("O_APPEND") && !call.has("O_TRUNC") {
        Effect::Append
    } else if call.name == "creat" || call.has("O_CREAT") {
        Effect::Name
    } else {
        Effect::Write
    }
}

/// Where a call has its paths: the argument of the directory, that of the name, and what it does there.
fn positions(call: &str) -> Vec<(Option<usize>, usize, Effect)> {
    use Effect::{MakeDirectory, Name, Read, Tree, Write};
    let plain = |effect| vec![(None, 0, effect)];
    let at = |effect| vec![(Some(0), 1, effect)];
    match call {
        "stat" | "lstat" | "access" | "readlink" | "execve" | "chdir" | "statfs" | "getxattr" | "lgetxattr"
        | "listxattr" | "llistxattr" => plain(Read),
        "newfstatat" | "statx" | "faccessat" | "faccessat2" | "readlinkat" | "execveat" | "name_to_handle_at" => {
            at(Read)
        }
        "inotify_add_watch" => vec![(None, 1, Read)],
        "truncate" | "chmod" | "chown" | "lchown" | "utime" | "utimes" | "setxattr" | "lsetxattr" | "removexattr"
        | "lremovexattr" => plain(Write),
        "fchmodat" | "fchmodat2" | "fchownat" | "utimensat" | "futimesat" => at(Write),
        "mkdir" => plain(MakeDirectory),
        "mkdirat" => at(MakeDirectory),
        "unlink" | "rmdir" | "mknod" => plain(Name),
        "unlinkat" | "mknodat" => at(Name),
        "link" => vec![(None, 0, Read), (None, 1, Name)],
        "linkat" => vec![(Some(0), 1, Read), (Some(2), 3, Name)],
        "symlink" => vec![(None, 1, Tree)],
        "symlinkat" => vec![(Some(1), 2, Tree)],
        "rename" => vec![(None, 0, Tree), (None, 1, Tree)],
        "renameat" | "renameat2" => vec![(Some(0), 1, Tree), (Some(2), 3, Tree)],
        "mount" => vec![(None, 1, Tree)],
        "umount2" | "umount" => plain(Tree),
        _ => Vec::new(),
    }
}

/// Drops what no other unit has to do with: what nobody else touches, and what all only read.
pub(crate) fn keep_shared(units: &mut [TracedUnit]) {
    let mut touched: BTreeMap<String, Vec<(usize, bool)>> = BTreeMap::new();
    for (index, unit) in units.iter().enumerate() {
        for access in &unit.accesses {
            touched.entry(access.path.clone()).or_default().push((index, changes(access)));
        }
    }
    for (index, unit) in units.iter_mut().enumerate() {
        unit.accesses.retain(|access| {
            let by_others = |path: &str, only_changes: bool| {
                let all = touched.get(path).into_iter().flatten();
                all.clone().any(|&(other, changed)| other != index && (changed || !only_changes))
            };
            let above = || ancestors(&access.path).any(|path| by_others(path, !changes(access)));
            let below = || {
                let prefix = format!("{}/", access.path);
                let names = touched.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
                names.flat_map(|(_, by)| by).any(|&(other, changed)| other != index && (changed || changes(access)))
            };
            by_others(&access.path, !changes(access)) || above() || below()
        });
    }
}

const fn changes(access: &Access) -> bool {
    !matches!(access.effect, Effect::Read | Effect::List)
}

/// The directories above a path, but for the root.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(index, _)| &path[..index]).filter(|parent| !parent.is_empty())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::race::calls;

    fn of(lines: &str) -> Vec<(String, Effect, bool)> {
        let (accesses, _) = summarise(&calls(&format!("==> 7\n{lines}\n")));
        accesses.into_iter().map(|access| (access.path, access.effect, access.missing)).collect()
    }

    #[rstest]
    #[case(
        r#"newfstatat(AT_FDCWD</>, "/s/a", 0x7f, 0) = -1 ENOENT (No such file or directory)"#,
        "/s/a",
        Effect::Read,
        true
    )]
    #[case(r#"mkdir("/s/a", 0777) = 0"#, "/s/a", Effect::MakeDirectory, false)]
    #[case(r#"mkdir("/s/a", 0777) = -1 EEXIST (File exists)"#, "/s/a", Effect::Read, false)]
    #[case(r#"openat(AT_FDCWD</s>, "a", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</s/a>"#, "/s/a", Effect::Name, false)]
    #[case(r#"openat(AT_FDCWD</s>, "a", O_WRONLY|O_CREAT|O_APPEND, 0666) = 3</s/a>"#, "/s/a", Effect::Append, false)]
    #[case(r#"openat(4</s>, "link", O_RDWR) = 3</t/a>"#, "/t/a", Effect::Write, false)]
    #[case(r#"openat(AT_FDCWD</>, "/s/a", O_RDONLY|O_CLOEXEC) = 3</s/a>"#, "/s/a", Effect::Read, false)]
    #[case("getdents64(3</s>, 0x55 /* 3 entries */, 32768) = 80", "/s", Effect::List, false)]
    #[case(r#"unlinkat(4</s>, "a", 0) = 0"#, "/s/a", Effect::Name, false)]
    #[case(r#"utimensat(4</s/a>, NULL, NULL, 0) = 0"#, "/s/a", Effect::Write, false)]
    #[case(
        r#"bind(3<socket:[5]>, {sa_family=AF_UNIX, sun_path="/run/x.sock"}, 110) = 0"#,
        "/run/x.sock",
        Effect::Name,
        false
    )]
    #[case(
        r#"connect(3<socket:[5]>, {sa_family=AF_UNIX, sun_path="/var/run/x.sock"}, 110) = -1 ENOENT (No such)"#,
        "/run/x.sock",
        Effect::Read,
        true
    )]
    fn a_call_touches_a_path(#[case] line: &str, #[case] path: &str, #[case] effect: Effect, #[case] missing: bool) {
        assert_eq!(of(&format!("1.000001 {line}")), [(path.to_owned(), effect, missing)]);
    }

    #[test]
    fn a_rename_takes_a_tree_away_and_puts_it_into_place() {
        let found = of(r#"1.000001 renameat2(AT_FDCWD</s>, "new", AT_FDCWD</s>, "/s/old", 0) = 0"#);
        assert_eq!(found, ["/s/new", "/s/old"].map(|path| (path.to_owned(), Effect::Tree, false)));
    }

    #[rstest]
    #[case(r#"openat(AT_FDCWD</>, "/dev/null", O_RDWR) = 3</dev/null>"#)]
    #[case(r#"openat(AT_FDCWD</>, "/proc/self/oom_score_adj", O_WRONLY) = 3</proc/7/oom_score_adj>"#)]
    #[case(
        r#"connect(3<socket:[5]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.0.2.2")}, 16) = 0"#
    )]
    #[case("dup2(3</s/a>, 1) = 1</s/a>")]
    fn what_is_nobody_s_business(#[case] line: &str) {
        assert_eq!(of(&format!("1.000001 {line}")), []);
    }

    #[test]
    fn a_lock_counts_only_where_it_is_always_held_and_its_file_is_no_state() {
        let open = r#"openat(AT_FDCWD</>, "/s/lock", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 9</s/lock>"#;
        let trace = format!(
            "==> 7\n1.000001 {open}\n1.000002 flock(9</s/lock>, LOCK_EX) = 0\n1.000003 mkdir(\"/s/a\", 0) = 0\n\
             1.000004 mkdir(\"/s/b\", 0) = 0\n1.000005 close(9</s/lock>) = 0\n1.000006 mkdir(\"/s/b\", 0) = 0\n"
        );
        let (accesses, touched) = summarise(&calls(&trace));
        let locks: Vec<_> = accesses.iter().map(|access| (access.path.as_str(), access.locks.len())).collect();
        assert_eq!(locks, [("/s/a", 1), ("/s/b", 0)]);
        assert_eq!(touched, 2);
    }

    #[test]
    fn what_is_not_shared_is_dropped() {
        let unit = |lines: &str| {
            let (accesses, touched) = summarise(&calls(&format!("==> 7\n{lines}")));
            TracedUnit { accesses, touched, ..TracedUnit::default() }
        };
        let mut units = [
            unit(
                "1.000001 mkdir(\"/s\", 0) = 0\n1.000002 mkdir(\"/own\", 0) = 0\n1.000003 access(\"/etc/hosts\", F_OK) = 0\n",
            ),
            unit("1.000001 access(\"/s/a\", F_OK) = -1 ENOENT (No such)\n1.000003 access(\"/etc/hosts\", F_OK) = 0\n"),
        ];
        keep_shared(&mut units);
        let paths = units.map(|unit| unit.accesses.into_iter().map(|access| access.path).collect::<Vec<_>>());
        assert_eq!(paths, [["/s"], ["/s/a"]]);
    }
}
