//! What the rebuild uses of memory, processor time and disk: all of it, also what others do for it.

use std::{path::Path, time::Duration};

use super::{
    control_group::{ControlGroups, Reading},
    memory::Memory,
};

/// Units that work for a rebuild apart from our own: nixos-rebuild activates in the first, and the daemon builds.
const HELPERS: [&str; 2] = ["nixos-rebuild-switch-to-configuration.service", "nix-daemon.service"];

/// Where Nix writes; before the first build there may be no such directory.
const STORE: [&str; 2] = ["/nix", "/"];

/// The accounts of a recording under way.
pub(super) struct Usage {
    groups: Vec<Account>,
    /// Highest sum of the groups' memory in any sample.
    sampled_peak: u64,
    available: u64,
    least_available: u64,
    disk: Option<u64>,
    most_disk: u64,
    least_free: Option<u64>,
}

/// One control group from the first sample to the last; there may be none of that name at either.
struct Account {
    group: Option<ControlGroups>,
    first: Reading,
    last: Reading,
}

/// What was used in the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) memory_peak: Option<u64>,
    pub(super) least_available: u64,
    /// None where no control group counts it.
    pub(super) cpu_us: Option<u64>,
    pub(super) disk_peak: Option<u64>,
    pub(super) least_free: Option<u64>,
    pub(super) measured: String,
}

impl Usage {
    /// Opens the accounts; to be called right before the command starts.
    pub(super) fn start() -> Self {
        let own = ControlGroups::own();
        let helpers = HELPERS.map(|unit| own.as_ref().and_then(|own| own.sibling(unit)));
        let groups = [own].into_iter().chain(helpers).map(Account::open).collect();
        let available = Memory::now().available;
        let disk = Disk::now();
        Self {
            groups,
            sampled_peak: 0,
            available,
            least_available: available,
            disk: disk.map(|disk| disk.used),
            most_disk: disk.map_or(0, |disk| disk.used),
            least_free: disk.map(|disk| disk.free),
        }
    }

    /// Looks again.
    pub(super) fn sample(&mut self, memory: Memory) {
        self.groups.iter_mut().for_each(Account::sample);
        let sum = self.groups.iter().filter_map(|account| account.last.memory).sum();
        self.sampled_peak = self.sampled_peak.max(sum);
        self.least_available = self.least_available.min(memory.available);
        if let Some(Disk { used, free }) = Disk::now() {
            self.most_disk = self.most_disk.max(used);
            self.least_free = self.least_free.map(|least| least.min(free));
        }
    }

    /// Closes the accounts; `every` is the time between samples.
    pub(super) fn finish(self, every: Duration) -> Used {
        let kept = self.groups.iter().filter_map(Account::peak_kept_by_the_kernel).max();
        let sampled = (self.sampled_peak > 0).then_some(self.sampled_peak);
        let every = format!("sampled every {} ms", every.as_millis());
        let (memory_peak, memory) = match (sampled, kept) {
            (_, Some(kept)) => (
                Some(kept.max(self.sampled_peak)),
                format!("the sum of the rebuild's control groups {every}, at least the highest peak the kernel kept"),
            ),
            (Some(sampled), None) => (Some(sampled), format!("the sum of the rebuild's control groups {every}")),
            (None, None) => (
                Some(self.available.saturating_sub(self.least_available)),
                format!("no control group counts it: the fall of the machine's MemAvailable {every}"),
            ),
        };
        let cpu_us = self.groups.iter().filter_map(Account::cpu_us).reduce(|one, other| one + other);
        let cpu = if cpu_us.is_some() {
            "the same groups"
        } else {
            "no control group counts it: the command and the children that it waited for"
        };
        Used {
            memory_peak,
            least_available: self.least_available,
            cpu_us,
            disk_peak: self.disk.map(|before| self.most_disk.saturating_sub(before)),
            least_free: self.least_free,
            measured: format!("memory: {memory}; CPU time: {cpu}"),
        }
    }
}

impl Account {
    fn open(group: Option<ControlGroups>) -> Self {
        let first = group.as_ref().map(ControlGroups::read).unwrap_or_default();
        Self { group, first, last: first }
    }

    /// A group that is gone keeps its last figures, but for the memory, which it has given back.
    fn sample(&mut self) {
        let now = self.group.as_ref().map(ControlGroups::read).unwrap_or_default();
        self.last =
            Reading { memory: now.memory, peak: now.peak.or(self.last.peak), cpu_us: now.cpu_us.or(self.last.cpu_us) };
    }

    /// The kernel's own peak, unless it is from before the rebuild.
    fn peak_kept_by_the_kernel(&self) -> Option<u64> {
        self.last.peak.filter(|_| self.last.peak != self.first.peak)
    }

    fn cpu_us(&self) -> Option<u64> {
        Some(self.last.cpu_us?.saturating_sub(self.first.cpu_us.unwrap_or_default()))
    }
}

/// The file system of the store, in bytes.
#[derive(Clone, Copy)]
struct Disk {
    used: u64,
    /// What is not reserved for root.
    free: u64,
}

impl Disk {
    fn now() -> Option<Self> {
        let path = STORE.into_iter().find(|path| Path::new(path).exists())?;
        let stat = rustix::fs::statvfs(path).ok()?;
        let used = stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize;
        Some(Self { used, free: stat.f_bavail * stat.f_frsize })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(memory: u64, peak: u64, cpu_us: u64) -> Reading {
        Reading { memory: Some(memory), peak: Some(peak), cpu_us: Some(cpu_us) }
    }

    fn usage(groups: Vec<Account>, sampled_peak: u64) -> Usage {
        Usage {
            groups,
            sampled_peak,
            available: 900,
            least_available: 700,
            disk: Some(50),
            most_disk: 80,
            least_free: Some(20),
        }
    }

    #[test]
    fn all_groups_count_and_old_peaks_do_not() {
        let own = Account { group: None, first: reading(1, 1, 1000), last: reading(20, 30, 6000) };
        let activation = Account { group: None, first: Reading::default(), last: reading(0, 48, 4000) };
        let daemon = Account { group: None, first: reading(5, 500, 9000), last: reading(5, 500, 9500) };
        let used = usage(vec![own, activation, daemon], 60).finish(Duration::from_millis(200));
        assert_eq!((used.memory_peak, used.cpu_us, used.disk_peak), (Some(60), Some(9500), Some(30)));
        assert!(
            used.measured.starts_with("memory: the sum of the rebuild's control groups sampled every 200 ms, at least")
        );
    }

    #[test]
    fn without_control_groups_the_measure_says_so() {
        let used = usage(vec![Account::open(None)], 0).finish(Duration::from_millis(200));
        assert_eq!((used.memory_peak, used.cpu_us), (Some(200), None));
        assert!(used.measured.contains("MemAvailable") && used.measured.contains("children"), "{}", used.measured);
    }
}
