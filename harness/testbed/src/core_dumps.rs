//! A run holds every secret of the host in its memory: a crash must not write that to a disk.

use std::{fs, io};

use rustix::process::{Resource, Rlimit, setrlimit};

/// Which kinds of memory a core dump holds, as bits; core(5).
const FILTER: &str = "/proc/self/coredump_filter";

/// Has this process, and each that it starts from now on, leave nothing of its memory when it crashes.
///
/// The limit forbids files. What a program is piped to is not limited by it, hence the filter, which leaves such a dump
/// without any memory. `PR_SET_DUMPABLE` would do as much, but not for the programs that are started, QEMU with the guest's
/// memory among them; and it would bar those of an ordinary user from the files in memory that they are handed.
///
/// # Errors
/// When the system refuses.
pub(crate) fn forbid() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    match fs::write(FILTER, "0") {
        // A kernel that cannot dump core has no filter for it.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// nextest runs each test in a process of its own, so that no other has to do without its core dump.
    #[test]
    fn neither_this_process_nor_those_that_it_starts_leave_any_memory() {
        forbid().unwrap();
        let limit = "grep 'Max core file size' /proc/self/limits; cat /proc/self/coredump_filter";
        let output = Command::new("sh").args(["-c", limit]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.split_whitespace().collect::<Vec<_>>()[4..], ["0", "0", "bytes", "00000000"], "{said}");
    }
}
