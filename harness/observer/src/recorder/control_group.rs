//! The kernel's accounts of a control group, in version 1 and version 2.

use std::{fs, path::PathBuf};

/// Where the accounts of one group are. In version 1 each controller has a hierarchy of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ControlGroups {
    memory: Files,
    cpu: Files,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    directory: PathBuf,
    unified: bool,
}

/// What a group uses, as far as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Bytes now.
    pub(super) memory: Option<u64>,
    /// The most bytes since the group was made.
    pub(super) peak: Option<u64>,
    /// User and system time since the group was made, in microseconds.
    pub(super) cpu_us: Option<u64>,
}

impl ControlGroups {
    /// Those of this process.
    pub(super) fn own() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/cgroup").ok()?)
    }

    /// Source: cgroups(7), `/proc/pid/cgroup`: number, controllers, path; version 2 has the number 0 and no controllers.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
        let of = |controller: &str, mounted: &str| {
            let mut lines = lines.iter();
            let one = lines.clone().find(|(controllers, _)| controllers.split(',').any(|name| name == controller));
            let (unified, (_, path)) = match one {
                Some(line) => (false, line),
                None => (true, lines.find(|(controllers, _)| controllers.is_empty())?),
            };
            let root = if unified { "/sys/fs/cgroup".to_owned() } else { format!("/sys/fs/cgroup/{mounted}") };
            Some(Files { directory: PathBuf::from(format!("{root}{}", path.trim_end_matches('/'))), unified })
        };
        Some(Self { memory: of("memory", "memory")?, cpu: of("cpuacct", "cpuacct")? })
    }

    /// The group of this name beside this one.
    pub(super) fn sibling(&self, name: &str) -> Option<Self> {
        let beside =
            |files: &Files| Some(Files { directory: files.directory.parent()?.join(name), unified: files.unified });
        Some(Self { memory: beside(&self.memory)?, cpu: beside(&self.cpu)? })
    }

    /// The accounts now; nothing of a group that is not there.
    pub(super) fn read(&self) -> Reading {
        let (now, peak) = if self.memory.unified {
            ("memory.current", "memory.peak")
        } else {
            ("memory.usage_in_bytes", "memory.max_usage_in_bytes")
        };
        let cpu_us = if self.cpu.unified {
            self.cpu.read("cpu.stat").as_deref().and_then(usage_usec)
        } else {
            self.cpu.number("cpuacct.usage").map(|nanoseconds| nanoseconds / 1000)
        };
        Reading { memory: self.memory.number(now), peak: self.memory.number(peak), cpu_us }
    }
}

impl Files {
    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(name)).ok()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.read(name)?.trim().parse().ok()
    }
}

fn usage_usec(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directories(groups: &ControlGroups) -> [&str; 2] {
        [&groups.memory, &groups.cpu].map(|files| files.directory.to_str().unwrap())
    }

    #[test]
    fn groups_are_found_in_both_versions() {
        let two = ControlGroups::parse("0::/system.slice/coldproof-switch.service\n").unwrap();
        assert_eq!(directories(&two), ["/sys/fs/cgroup/system.slice/coldproof-switch.service"; 2]);
        assert_eq!(
            directories(&two.sibling("nix-daemon.service").unwrap()),
            ["/sys/fs/cgroup/system.slice/nix-daemon.service"; 2]
        );
        let one = ControlGroups::parse("5:cpu,cpuacct:/x\n4:memory:/system.slice/x.service\n0::/\n").unwrap();
        assert_eq!(directories(&one), ["/sys/fs/cgroup/memory/system.slice/x.service", "/sys/fs/cgroup/cpuacct/x"]);
        assert!(!one.memory.unified && two.cpu.unified);
        assert_eq!(ControlGroups::parse(""), None);
    }

    #[test]
    fn accounts_are_read_as_far_as_they_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { directory: dir.path().to_owned(), unified: true };
        let group = ControlGroups { memory: files.clone(), cpu: files };
        assert_eq!(group.read(), Reading::default());
        fs::write(dir.path().join("memory.current"), "4096\n").unwrap();
        fs::write(dir.path().join("cpu.stat"), "usage_usec 5231769\nuser_usec 1\n").unwrap();
        assert_eq!(group.read(), Reading { memory: Some(4096), peak: None, cpu_us: Some(5_231_769) });
    }
}
