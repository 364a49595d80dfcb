//! How much memory is in use.

use std::fs;

/// Memory of the machine, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) total: u64,
    pub(super) available: u64,
}

impl Memory {
    /// Reads `/proc/meminfo`; all zero when it cannot be read.
    pub(super) fn now() -> Self {
        parse_meminfo(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    pub(super) const fn used(self) -> u64 {
        self.total.saturating_sub(self.available)
    }
}

fn parse_meminfo(text: &str) -> Memory {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
    };
    Memory { total: bytes("MemTotal").unwrap_or_default(), available: bytes("MemAvailable").unwrap_or_default() }
}

/// Peak memory of this process' own control group, in bytes, where the kernel counts it.
pub(super) fn cgroup_peak() -> Option<u64> {
    let file = peak_file(&fs::read_to_string("/proc/self/cgroup").ok()?)?;
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The file with the peak, for version 1 (a hierarchy of the memory controller) or version 2 (hierarchy 0).
fn peak_file(cgroups: &str) -> Option<String> {
    let mut lines = cgroups.lines().filter_map(|line| {
        let (_number, rest) = line.split_once(':')?;
        rest.split_once(':')
    });
    let memory = |controllers: &str| controllers.split(',').any(|controller| controller == "memory");
    let (controllers, path) = lines
        .clone()
        .find(|(controllers, _)| memory(controllers))
        .or_else(|| lines.find(|(controllers, _)| controllers.is_empty()))?;
    let path = path.trim_end_matches('/');
    Some(if controllers.is_empty() {
        format!("/sys/fs/cgroup{path}/memory.peak")
    } else {
        format!("/sys/fs/cgroup/memory{path}/memory.max_usage_in_bytes")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        let memory = parse_meminfo("MemTotal:        2014484 kB\nMemFree:  1 kB\nMemAvailable:    1874236 kB\n");
        assert_eq!(memory, Memory { total: 2_014_484 << 10, available: 1_874_236 << 10 });
        assert_eq!(memory.used(), 140_248 << 10);
    }

    #[test]
    fn the_peak_is_found_in_both_versions_of_control_groups() {
        let two = peak_file("0::/system.slice/coldproof-switch.service\n").unwrap();
        assert_eq!(two, "/sys/fs/cgroup/system.slice/coldproof-switch.service/memory.peak");
        let one = peak_file("5:cpu,cpuacct:/\n4:memory:/system.slice/x.service\n0::/\n").unwrap();
        assert_eq!(one, "/sys/fs/cgroup/memory/system.slice/x.service/memory.max_usage_in_bytes");
    }
}
