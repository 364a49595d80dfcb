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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        let memory = parse_meminfo("MemTotal:        2014484 kB\nMemFree:  1 kB\nMemAvailable:    1874236 kB\n");
        assert_eq!(memory, Memory { total: 2_014_484 << 10, available: 1_874_236 << 10 });
        assert_eq!(memory.used(), 140_248 << 10);
    }
}
