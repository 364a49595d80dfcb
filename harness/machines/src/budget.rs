//! Whether one more machine fits into the host's memory beside all that run, before it is made.
//!
//! What counts is what machines may take, not what they take now: the rest would be missing just when it is needed.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    time::Duration,
};

pub use coldproof_evidence::budget::{Admission, Share};
use rustix::{
    fs::{FlockOperation, flock, inotify},
    io::Errno,
};
use tokio::io::unix::AsyncFd;

use crate::{
    deadline::Deadline,
    lease::Lease,
    ledger::{Ledger, LedgerEntry},
    provider::ProvisionError,
};

/// How long a machine waits for others to end. Those of one run have deadlines, which are shorter.
const TURN: Duration = Duration::from_secs(3600);
/// What may be done where a machine does not fit beside others.
const END_ANOTHER: &str = "end one of these (`coldproof machines list`), or make `memory` under [machine] smaller";
/// What may be done where it does not fit at all.
const SMALLER: &str = "make `memory` under [machine] smaller";

/// This computer's memory in bytes.
///
/// # Errors
/// When `/proc/meminfo` cannot be read.
pub fn host_memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    total(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo tells no MemTotal"))
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Whether a machine of this size fits into a host of this one, with nothing beside it.
///
/// # Errors
/// [`ProvisionError::Unmet`] when it does not.
pub fn check_alone(memory: u64, host: u64) -> Result<(), ProvisionError> {
    if memory <= host {
        return Ok(());
    }
    let problem = format!("a machine of {} does not fit into this computer, which has {}", mib(memory), mib(host));
    Err(ProvisionError::Unmet { problem, remedy: SMALLER.to_owned() })
}

/// What to say where `memory` more does not fit into `room` beside what runs, by who has how much; none where it fits.
#[must_use]
pub fn refusal(memory: u64, room: u64, shares: &[Share]) -> Option<String> {
    let taken = shares.iter().fold(0_u64, |sum, share| sum.saturating_add(share.memory_bytes));
    if taken.saturating_add(memory) <= room {
        return None;
    }
    let mut words = format!("a machine of {} does not fit: {} of {} are taken", mib(memory), mib(taken), mib(room));
    for share in shares {
        // Writing to a string cannot fail.
        let _ = write!(words, "\n  {} {} ({})", share.name, mib(share.memory_bytes), share.owner);
    }
    Some(words)
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

impl Lease {
    /// Lets the machine in as soon as `memory` fits into this computer beside all leases that are in use or kept. Until
    /// then it waits for others to end; `waits` is told so.
    ///
    /// # Errors
    /// [`ProvisionError::Unmet`], which lists who has how much, where it will not fit, or has not after an hour.
    pub async fn admit(&mut self, memory: u64, waits: impl Fn(&str)) -> Result<Admission, ProvisionError> {
        let host = host_memory().map_err(ProvisionError::io("reading this computer's memory"))?;
        check_alone(memory, host)?;
        let deadline = Deadline::after(TURN);
        let mut said = false;
        loop {
            // Watched before it is read, so that no end is missed.
            let ends = Ends::watch(self.ledger()).map_err(ProvisionError::io("watching the ledger"))?;
            let refused = match self.try_admit(memory, host)? {
                Attempt::Admitted(admission) => return Ok(admission),
                Attempt::Refused(problem) => return Err(unmet(problem)),
                Attempt::Later(problem) => problem,
            };
            if !said {
                waits(&format!("{} waits for memory: {refused}", self.machine()));
                said = true;
            }
            match deadline.bound(ends.next()).await {
                Ok(ended) => ended.map_err(ProvisionError::io("watching the ledger"))?,
                Err(_) => return Err(unmet(refused)),
            }
        }
    }

    /// Under a lock, as two who ask at once would both be told that there is room.
    fn try_admit(&mut self, memory: u64, host: u64) -> Result<Attempt, ProvisionError> {
        let locked = File::open(self.ledger().directory()).and_then(|directory| {
            flock(&directory, FlockOperation::LockExclusive).map(|()| directory).map_err(Into::into)
        });
        let _lock = locked.map_err(ProvisionError::io("locking the ledger"))?;
        let entries = self.ledger().entries().map_err(ProvisionError::io("reading the ledger"))?;
        let attempt = decide(&entries, self.id(), memory, host);
        let Attempt::Admitted(admission) = attempt else { return Ok(attempt) };
        self.grant(memory)?;
        Ok(Attempt::Admitted(admission.of(self.machine(), self.run(), memory)))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Attempt {
    /// With everything else that runs.
    Admitted(Admission),
    /// Others that end by themselves are in its way.
    Later(String),
    /// Nothing that ends by itself would make room for it.
    Refused(String),
}

fn decide(entries: &[LedgerEntry], lease: &str, memory: u64, host: u64) -> Attempt {
    let others = || entries.iter().filter(|entry| entry.lease != lease && !entry.is_orphaned());
    let all: Vec<Share> = others().filter_map(share).collect();
    let kept: Vec<Share> = others().filter(|entry| entry.is_kept()).filter_map(share).collect();
    if let Some(problem) = refusal(memory, host, &kept) {
        return Attempt::Refused(problem);
    }
    match refusal(memory, host, &all) {
        Some(problem) => Attempt::Later(problem),
        None => Attempt::Admitted(Admission { host_bytes: host, running: all, ..Admission::default() }),
    }
}

fn share(entry: &LedgerEntry) -> Option<Share> {
    let owner = format!("run {}{}", entry.run, if entry.is_kept() { ", kept" } else { "" });
    Some(Share { name: entry.machine.clone(), owner, memory_bytes: entry.memory? })
}

fn unmet(problem: String) -> ProvisionError {
    ProvisionError::Unmet { problem, remedy: END_ANOTHER.to_owned() }
}

/// Tells when a lease ends, whoever removes it from the ledger.
struct Ends(AsyncFd<OwnedFd>);

impl Ends {
    fn watch(ledger: &Ledger) -> io::Result<Self> {
        let events = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&events, ledger.directory(), inotify::WatchFlags::DELETE)?;
        #[expect(deprecated, reason = "its successor is unsafe, as not every type owns its file; this one does")]
        let events = AsyncFd::new(events)?;
        Ok(Self(events))
    }

    async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut events = [0; 4096];
            match rustix::io::read(&self.0, &mut events) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Containment, process::ProcessIdentity};

    const GIB: u64 = 1 << 30;

    fn entry(lease: &str, owner: Option<ProcessIdentity>, memory: Option<u64>) -> LedgerEntry {
        LedgerEntry {
            lease: lease.into(),
            run: "r".into(),
            machine: format!("machine-{lease}"),
            owner,
            created: 0,
            memory,
            containment: Containment::Mark,
            remotes: Vec::new(),
            directories: Vec::new(),
        }
    }

    #[test]
    fn the_computers_memory_is_read() {
        assert_eq!(total("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), Some(24_689_764 << 10));
        assert_eq!(total("MemFree: 1 kB\n"), None);
        assert!(host_memory().unwrap() > 0);
    }

    #[test]
    fn a_refusal_lists_who_has_what() {
        let shares = [Share { name: "theirs".into(), owner: "not ours".into(), memory_bytes: 3 * GIB }];
        assert_eq!(refusal(GIB, 4 * GIB, &shares), None);
        let words = refusal(2 * GIB, 4 * GIB, &shares).unwrap();
        assert_eq!(
            words,
            "a machine of 2048 MiB does not fit: 3072 MiB of 4096 MiB are taken\n  theirs 3072 MiB (not ours)"
        );
    }

    #[test]
    fn what_is_in_use_is_waited_for_and_what_is_kept_or_too_large_is_refused() {
        let owner = ProcessIdentity::current().ok();
        let dead = owner.clone().map(|owner| ProcessIdentity { start_time: owner.start_time + 1, ..owner });
        let own = entry("own", owner.clone(), None);
        let used = entry("used", owner, Some(3 * GIB));
        let kept = entry("kept", None, Some(3 * GIB));
        let gone = entry("gone", dead, Some(3 * GIB));
        let decide = |entries: &[&LedgerEntry], memory| {
            decide(&entries.iter().map(|&entry| entry.clone()).collect::<Vec<_>>(), "own", memory, 4 * GIB)
        };
        let Attempt::Admitted(admission) = decide(&[&own, &used], GIB) else { panic!("it fits") };
        assert_eq!((admission.granted_bytes(), admission.room_bytes()), (3 * GIB, 4 * GIB));
        assert!(matches!(decide(&[&own, &used], 2 * GIB), Attempt::Later(_)));
        let Attempt::Refused(words) = decide(&[&own, &kept], 2 * GIB) else { panic!("nobody ends it") };
        assert!(words.contains("machine-kept 3072 MiB (run r, kept)"), "{words}");
        let alone = check_alone(5 * GIB, 4 * GIB).unwrap_err().to_string();
        assert!(alone.starts_with("a machine of 5120 MiB does not fit into this computer, which has 4096 MiB; make"));
        assert!(check_alone(4 * GIB, 4 * GIB).is_ok());
        assert!(matches!(decide(&[&own, &gone], 4 * GIB), Attempt::Admitted(_)));
    }

    #[tokio::test]
    async fn the_end_of_a_lease_is_told() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(state.path());
        ledger.prepare().unwrap();
        ledger.write(&entry("a", None, None)).unwrap();
        let ends = Ends::watch(&ledger).unwrap();
        ledger.write(&entry("b", None, None)).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), ends.next()).await;
        assert!(early.is_err(), "a beginning is no end");
        ledger.remove("a").unwrap();
        Deadline::after(Duration::from_secs(10)).bound(ends.next()).await.unwrap().unwrap();
    }
}
