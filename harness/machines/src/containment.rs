//! What holds a machine's processes together, so that none survives its lease.
//!
//! A control group is entered before the machine's program starts, so nothing escapes it. Where
//! none can be made, the lease's id in the environment marks the processes; only a program that
//! clears its environment would escape that, and QEMU and the relay do not.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::{
    process::{ProcessIdentity, alive, kill_members, with_environment},
    receipt::{ReleasedResource, ResourceKind},
};

/// The environment variable that marks a lease's processes.
pub(crate) const MARK: &str = "COLDPROOF_LEASE";

const KILL_LIMIT: Duration = Duration::from_secs(4);

/// How a lease's processes are held together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Containment {
    /// A control group of the unified hierarchy (cgroup v2). It needs no controllers.
    CgroupV2 {
        /// The group's directory.
        path: PathBuf,
    },
    /// A control group of a v1 hierarchy.
    CgroupV1 {
        /// The group's directory.
        path: PathBuf,
    },
    /// The lease's id in the environment.
    Mark,
}

impl Containment {
    /// What can be tried here for a lease, best first. Nothing is created yet.
    pub(crate) fn candidates(lease: &str) -> Vec<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut found: Vec<Self> = parents(&mounts, &own).into_iter().map(|parent| parent.child(lease)).collect();
        found.push(Self::Mark);
        found
    }

    /// Creates the control group. The ledger names it already.
    pub(crate) fn create(&self) -> std::io::Result<()> {
        self.cgroup().map_or(Ok(()), fs::create_dir)
    }

    /// The file into which a process writes `0` to enter.
    pub(crate) fn entrance(&self) -> Option<PathBuf> {
        self.cgroup().map(|path| path.join("cgroup.procs"))
    }

    fn cgroup(&self) -> Option<&Path> {
        match self {
            Self::CgroupV2 { path } | Self::CgroupV1 { path } => Some(path),
            Self::Mark => None,
        }
    }

    /// The processes inside. Zombies may be among them.
    fn members(&self, lease: &str) -> Vec<i32> {
        let Some(entrance) = self.entrance() else { return with_environment(MARK, lease) };
        let text = fs::read_to_string(entrance).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// What runs inside, and what bears the lease's mark.
    pub(crate) fn processes(&self, lease: &str) -> Vec<ProcessIdentity> {
        alive(self.everything(lease)).into_iter().filter_map(|pid| ProcessIdentity::of(pid).ok()).collect()
    }

    /// A process that its owner started just before dying may still be on its way into the group: it has the mark.
    fn everything(&self, lease: &str) -> Vec<i32> {
        let mut found = with_environment(MARK, lease);
        found.extend(self.members(lease));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Kills what is inside, removes the group, and says what is gone.
    pub(crate) fn remove(&self, lease: &str) -> Vec<ReleasedResource> {
        if let Self::CgroupV2 { path } = self
            && let Err(error) = fs::write(path.join("cgroup.kill"), "1")
        {
            // Kernels before 5.14 have no such file; the processes are killed one by one below.
            tracing::debug!(%error, path = %path.display(), "cgroup.kill");
        }
        let processes = || self.everything(lease);
        let killed = kill_members(processes, KILL_LIMIT);
        tracing::debug!(lease, ?killed, "killed the lease's processes");
        let name = format!("processes of lease {lease}");
        let ended = alive(processes()).is_empty();
        let mut released = vec![ReleasedResource::looked_for(ResourceKind::Processes, name, ended)];
        if let Some(path) = self.cgroup() {
            let removed = remove_group(path);
            let name = path.display().to_string();
            released
                .push(ReleasedResource::looked_for(ResourceKind::Cgroup, name, !path.exists()).because(removed.err()));
        }
        released
    }
}

/// Removes a group whose processes have ended. A process leaves its group only a moment after its
/// end is seen, and until then the kernel answers that the group is busy.
fn remove_group(path: &Path) -> std::io::Result<()> {
    let end = Instant::now() + KILL_LIMIT;
    loop {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && Instant::now() < end => {
                wait_for_change(path)?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => return result,
        }
    }
}

/// Waits until `cgroup.events` of a v2 group changes. A v1 group announces nothing, so there, and
/// if the change came before the wait, a few milliseconds must do.
fn wait_for_change(path: &Path) -> std::io::Result<()> {
    const MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    let events = fs::File::open(path.join("cgroup.events")).ok();
    let mut watched: Vec<PollFd<'_>> = events.iter().map(|file| PollFd::new(file, PollFlags::PRI)).collect();
    poll(&mut watched, Some(&MOMENT))?;
    Ok(())
}

/// A control group in which groups for leases can be made.
#[derive(Debug, PartialEq, Eq)]
enum Parent {
    V2(PathBuf),
    V1(PathBuf),
}

impl Parent {
    fn child(self, lease: &str) -> Containment {
        match self {
            Self::V2(path) => Containment::CgroupV2 { path: path.join(format!("coldproof-{lease}")) },
            Self::V1(path) => Containment::CgroupV1 { path: path.join(format!("coldproof-{lease}")) },
        }
    }
}

/// This process's own control groups, from `/proc/self/mountinfo` and `/proc/self/cgroup`:
/// the unified one first, then v1 hierarchies that account nothing or only freeze or count, as
/// membership in those changes no limits.
fn parents(mountinfo: &str, own: &str) -> Vec<Parent> {
    let mounts: Vec<CgroupMount<'_>> = mountinfo.lines().filter_map(CgroupMount::parse).collect();
    let mut found: Vec<Parent> = mounts
        .iter()
        .filter(|mount| mount.version == 2)
        .filter_map(|mount| Some(Parent::V2(mount.directory(own_path(own, "")?)?)))
        .collect();
    for controller in ["name=systemd", "freezer", "pids"] {
        let fitting = mounts.iter().filter(|mount| mount.version == 1 && mount.has(controller));
        found.extend(fitting.filter_map(|mount| Some(Parent::V1(mount.directory(own_path(own, controller)?)?))));
    }
    found
}

/// The path of this process in the hierarchy with `controller`; the unified one has none.
fn own_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

struct CgroupMount<'a> {
    version: u8,
    root: &'a str,
    mount_point: &'a str,
    options: &'a str,
}

impl<'a> CgroupMount<'a> {
    /// See proc_pid_mountinfo(5): optional fields end with a lone `-`.
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let version = match *right.first()? {
            "cgroup2" => 2,
            "cgroup" => 1,
            _ => return None,
        };
        Some(Self { version, root: left.get(3)?, mount_point: left.get(4)?, options: right.get(2)? })
    }

    fn has(&self, controller: &str) -> bool {
        self.options.split(',').any(|option| option == controller)
    }

    /// Where `path` of the hierarchy is seen below this mount, which may show only a part of it.
    fn directory(&self, path: &str) -> Option<PathBuf> {
        let below = if self.root == "/" { path } else { path.strip_prefix(self.root)? };
        Some(Path::new(self.mount_point).join(below.trim_start_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };

    const HYBRID: &str = "\
30 20 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw";

    #[test]
    fn the_unified_hierarchy_comes_first_and_limiting_ones_are_left_alone() {
        let own = "4:memory:/limited\n2:freezer:/\n1:name=systemd:/session\n0::/";
        assert_eq!(
            parents(HYBRID, own),
            [
                Parent::V2("/sys/fs/cgroup/unified/".into()),
                Parent::V1("/sys/fs/cgroup/systemd/session".into()),
                Parent::V1("/sys/fs/cgroup/freezer/".into()),
            ]
        );
    }

    #[test]
    fn every_kind_that_this_computer_has_holds_a_process_and_what_it_started() {
        for (number, containment) in Containment::candidates("probe").into_iter().enumerate() {
            let lease = format!("test-{}-{number}", std::process::id());
            let Some(containment) = renamed(&containment, &lease) else { continue };
            let mut child = Command::new("sh")
                .args(["-c", r#"[ -z "$1" ] || echo $$ >"$1"; setsid sleep 300 & echo started; exec sleep 300"#, "sh"])
                .arg(containment.entrance().unwrap_or_default())
                .env(MARK, &lease)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            // The shell and its child may still be on their way to being `sleep`, and show no environment meanwhile.
            let end = Instant::now() + KILL_LIMIT;
            while containment.members(&lease).len() != 2 {
                assert!(Instant::now() < end, "{containment:?}");
                std::thread::yield_now();
            }
            let released = containment.remove(&lease);
            child.wait().unwrap();
            assert!(released.iter().all(|resource| resource.gone), "{released:?}");
            assert_eq!(with_environment(MARK, &lease), Vec::<i32>::new());
        }
    }

    /// The same group under another name, made; `None` where this user may not make one.
    fn renamed(containment: &Containment, lease: &str) -> Option<Containment> {
        let sibling = |path: &Path| path.with_file_name(format!("coldproof-{lease}"));
        let renamed = match containment {
            Containment::CgroupV2 { path } => Containment::CgroupV2 { path: sibling(path) },
            Containment::CgroupV1 { path } => Containment::CgroupV1 { path: sibling(path) },
            Containment::Mark => Containment::Mark,
        };
        renamed.create().ok().map(|()| renamed)
    }

    #[rstest]
    #[case::own_group("0::/user.slice/session-1.scope", "/", Some("/sys/fs/cgroup/user.slice/session-1.scope"))]
    #[case::bind_mounted_part("0::/docker/abc/inner", "/docker/abc", Some("/sys/fs/cgroup/inner"))]
    #[case::outside_the_mount("0::/elsewhere", "/docker/abc", None)]
    fn the_own_group_is_found_below_the_mount(#[case] own: &str, #[case] root: &str, #[case] expected: Option<&str>) {
        let mountinfo = format!("34 30 0:30 {root} /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        let expected: Vec<Parent> = expected.map(|path| Parent::V2(path.into())).into_iter().collect();
        assert_eq!(parents(&mountinfo, own), expected);
    }
}
