//! The processes of one unit together: where each stood, and which locks the unit held when.

use std::collections::HashMap;

use super::Call;

/// A system call with its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// The call.
    pub(crate) call: Call,
    /// The process's working directory.
    pub(crate) directory: String,
    /// Files that the unit held locked exclusively.
    pub(crate) locks: Vec<String>,
}

/// All calls of a unit in order of time, from what [`super::Call`] reads of each process: `==> PID`, then its lines.
pub(crate) fn calls(trace: &str) -> Vec<Located> {
    let (mut events, ends) = parse(trace);
    events.sort_by_key(|(_, call)| call.at_us);
    let locks = locks(&events, &ends);
    let mut directories: HashMap<i64, String> = HashMap::new();
    events
        .into_iter()
        .map(|(process, call)| {
            let directory = directories.entry(process).or_insert_with(|| "/".to_owned());
            if let Some(here) = call.arguments.iter().position(|argument| argument.starts_with("AT_FDCWD<")) {
                *directory = call.descriptor(here).unwrap_or_default();
            }
            let before = directory.clone();
            match (call.name.as_str(), &call.returned) {
                ("chdir", _) if call.succeeded() => *directory = absolute(&before, &call.string(0).unwrap_or_default()),
                ("fchdir", _) if call.succeeded() => *directory = call.descriptor(0).unwrap_or(before.clone()),
                ("clone" | "clone3" | "fork" | "vfork", super::line::Returned::Value(child, _)) => {
                    directories.insert(*child, before.clone());
                }
                _ => {}
            }
            let held = locks.iter().filter(|lock| (lock.since_us..lock.until_us).contains(&call.at_us));
            let mut held: Vec<_> = held.map(|lock| lock.path.clone()).collect();
            held.sort_unstable();
            held.dedup();
            Located { call, directory: before, locks: held }
        })
        .collect()
}

/// Every call with its process, and when each process was last heard of.
fn parse(trace: &str) -> (Vec<(i64, Call)>, HashMap<i64, u64>) {
    let (mut process, mut events, mut ends) = (0, Vec::new(), HashMap::new());
    for line in trace.lines() {
        if let Some(id) = line.strip_prefix("==> ") {
            process = id.trim().parse().unwrap_or_default();
        } else if let Some(call) = Call::parse(line) {
            ends.insert(process, call.at_us + 1);
            events.push((process, call));
        }
    }
    (events, ends)
}

/// A file that was locked exclusively for a while.
struct Lock {
    path: String,
    since_us: u64,
    until_us: u64,
}

/// A lock lasts until it is given up, or until the process that opened the file closes it or ends: `flock 9` locks
/// for its parent, `flock FILE COMMAND` for itself.
fn locks(events: &[(i64, Call)], ends: &HashMap<i64, u64>) -> Vec<Lock> {
    let mut locks = Vec::new();
    for (index, (process, call)) in events.iter().enumerate() {
        let Some(path) = locked(call) else { continue };
        let opened = |(_, call): &&(i64, Call)| {
            call.name.starts_with("open")
                && matches!(&call.returned, super::line::Returned::Value(_, Some(p)) if *p == path)
        };
        let opener = events[..index].iter().rfind(opened).map_or(*process, |(opener, _)| *opener);
        let released = events[index + 1..].iter().find(|(process, call)| {
            let of_path = call.descriptor(0).as_ref() == Some(&path);
            of_path && (unlocks(call) || (call.name == "close" && *process == opener))
        });
        let end = ends.get(&opener).copied().unwrap_or(u64::MAX);
        let until_us = released.map_or(end, |(_, call)| call.at_us.min(end));
        locks.push(Lock { path, since_us: call.at_us, until_us });
    }
    locks
}

/// The file that the call locks exclusively.
pub(super) fn locked(call: &Call) -> Option<String> {
    let exclusive = match call.name.as_str() {
        "flock" => call.has("LOCK_EX"),
        "fcntl" => {
            let sets = ["F_SETLK", "F_SETLKW", "F_OFD_SETLK", "F_OFD_SETLKW"].iter().any(|command| call.has(command));
            sets && call.arguments.get(2).is_some_and(|lock| lock.contains("l_type=F_WRLCK"))
        }
        _ => false,
    };
    (exclusive && call.succeeded()).then(|| call.descriptor(0)).flatten()
}

fn unlocks(call: &Call) -> bool {
    match call.name.as_str() {
        "flock" => call.has("LOCK_UN"),
        "fcntl" => call.arguments.get(2).is_some_and(|lock| lock.contains("l_type=F_UNLCK")),
        _ => false,
    }
}

/// `path` seen from `directory`, without `.`, `..` and links that every system has.
pub(super) fn absolute(directory: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts[..] {
        ["var", "run", ..] => drop(parts.remove(0)),
        ["var", "lock", ..] => parts[0] = "run",
        _ => {}
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/srv", "a", "/srv/a")]
    #[case("/srv/b", "../a/./c", "/srv/a/c")]
    #[case("/", "/etc//x/", "/etc/x")]
    #[case("/", "..", "/")]
    #[case("/", "/var/run/x.pid", "/run/x.pid")]
    #[case("/", "/var/lock/x", "/run/lock/x")]
    #[case("/", "", "/")]
    fn paths_are_absolute(#[case] directory: &str, #[case] path: &str, #[case] expected: &str) {
        assert_eq!(absolute(directory, path), expected);
    }

    const TRACE: &str = r#"==> 7
100.000001 chdir("/srv") = 0
100.000002 clone(child_stack=NULL, flags=SIGCHLD) = 8
100.000003 chdir("/etc") = 0
100.000009 mkdir("late", 0777) = 0
==> 8
100.000004 mkdir("early", 0777) = 0
100.000005 openat(AT_FDCWD</opt>, "x", O_RDONLY) = 3</opt/x>
100.000006 unlink("y") = 0
"#;

    #[test]
    fn a_child_starts_where_its_parent_was() {
        let calls = calls(TRACE);
        let of =
            |name: &str| calls.iter().filter(|l| l.call.name == name).map(|l| l.directory.as_str()).collect::<Vec<_>>();
        assert_eq!(of("mkdir"), ["/srv", "/etc"]);
        assert_eq!(of("unlink"), ["/opt"]);
    }

    #[rstest]
    #[case::of_the_parent("==> 7\n1.000001 openat(AT_FDCWD</>, \"/l\", O_WRONLY) = 9</l>\n1.000004 mkdir(\"/a\", 0) = 0\n1.000005 close(9</l>) = 0\n1.000006 rmdir(\"/a\") = 0\n==> 8\n1.000002 flock(9</l>, LOCK_EX) = 0\n", &[true, false])]
    #[case::given_up("==> 7\n1.000001 openat(AT_FDCWD</>, \"/l\", O_WRONLY) = 9</l>\n1.000002 flock(9</l>, LOCK_EX|LOCK_NB) = 0\n1.000003 mkdir(\"/a\", 0) = 0\n1.000004 flock(9</l>, LOCK_UN) = 0\n1.000005 rmdir(\"/a\") = 0\n", &[true, false])]
    #[case::of_a_process_that_ended("==> 8\n1.000001 openat(AT_FDCWD</>, \"/l\", O_WRONLY) = 3</l>\n1.000002 flock(3</l>, LOCK_EX) = 0\n1.000004 access(\"/x\", F_OK) = 0\n==> 7\n1.000003 mkdir(\"/a\", 0) = 0\n1.000009 rmdir(\"/a\") = 0\n", &[true, false])]
    #[case::shared("==> 7\n1.000002 flock(9</l>, LOCK_SH) = 0\n1.000003 mkdir(\"/a\", 0) = 0\n", &[false])]
    #[case::refused("==> 7\n1.000002 flock(9</l>, LOCK_EX|LOCK_NB) = -1 EAGAIN (Resource temporarily unavailable)\n1.000003 mkdir(\"/a\", 0) = 0\n", &[false])]
    #[case::record_lock("==> 7\n1.000002 fcntl(9</l>, F_SETLKW, {l_type=F_WRLCK, l_whence=SEEK_SET, l_start=0, l_len=0}) = 0\n1.000003 mkdir(\"/a\", 0) = 0\n1.000004 mkdir(\"/b\", 0) = 0\n", &[true, true])]
    fn locks_last(#[case] trace: &str, #[case] locked: &[bool]) {
        let calls = calls(trace);
        let changes = calls.iter().filter(|l| l.call.name.ends_with("dir"));
        assert_eq!(changes.map(|l| l.locks == ["/l"]).collect::<Vec<_>>(), locked);
    }
}
