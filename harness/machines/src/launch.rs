//! The launcher: enters a lease's control group, gives way to others where it is told to, and gives up privileges, then
//! becomes the machine's program. As a program of its own it does so without unsafe code between fork and
//! exec, and the machine's program never runs outside its control group.

use std::{
    ffi::OsString,
    fs, io,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{containment::MARK, helper, lease::Lease, provider::Priority};

/// The nice value of what gives way to others, by sched(7): a quarter of a processor where it competes with one other.
const GIVES_WAY: i32 = 5;

/// A user without a name, and without any privilege.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unprivileged {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Unprivileged {
    /// The user for a lease's machine, or for all machines of a private stage: a user of its own when this process is
    /// root, so that machines cannot reach each other's files; `None` when this process has no privilege to give up. It
    /// may have a group that somebody else has: the one that may use KVM. The range is systemd's for dynamic users
    /// (UIDS-GIDS.md), which belong to nobody.
    pub(crate) fn named(name: &str, group: Option<u32>) -> Option<Self> {
        const FIRST: u32 = 61_184;
        const COUNT: u32 = 65_519 - FIRST + 1;
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let spread = name.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let id = FIRST + spread % COUNT;
        Some(Self { uid: id, gid: group.unwrap_or(id) })
    }

    /// Makes `path` this user's.
    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
    }
}

/// As whom a machine's program runs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// `None` is this process's own user.
    pub(crate) user: Option<Unprivileged>,
    pub(crate) priority: Priority,
}

/// A command that runs `program` inside the lease's containment.
pub(crate) fn contained(lease: &Lease, standing: Standing, program: &Path) -> Command {
    let mut command = Command::new(helper::program());
    let entrance = lease.containment().entrance().unwrap_or_default();
    let user = standing.user.map_or_else(|| "-".to_owned(), |user| format!("{}:{}", user.uid, user.gid));
    let nice = match standing.priority {
        Priority::Normal => 0,
        Priority::Background => GIVES_WAY,
    };
    command.arg(helper::LAUNCH).arg(entrance).arg(user).arg(nice.to_string()).arg(program);
    // Secrets of the controller's environment are none of the machine's business.
    command.env_clear().env("PATH", "/usr/bin:/bin").env(MARK, lease.id());
    command
}

/// The launcher's own main: `CGROUP.PROCS UID:GID NICE PROGRAM ARGS…`; an empty first argument,
/// a `-` for the second and a `0` for the third ask for nothing.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(entrance), Some(user), Some(nice), Some(program)) = (args.next(), args.next(), args.next(), args.next())
    else {
        return ExitCode::from(2);
    };
    let nice = nice.to_string_lossy().parse().unwrap_or_default();
    let error = become_program(PathBuf::from(entrance), &user.to_string_lossy(), nice, program, args);
    drop(writeln!(io::stderr(), "launching: {error}"));
    ExitCode::FAILURE
}

/// Returns only when it failed.
fn become_program(
    entrance: PathBuf,
    user: &str,
    nice: i32,
    program: OsString,
    args: impl Iterator<Item = OsString>,
) -> io::Error {
    if !entrance.as_os_str().is_empty()
        && let Err(error) = fs::write(&entrance, "0")
    {
        return io::Error::new(error.kind(), format!("entering {}: {error}", entrance.display()));
    }
    // A session of its own, so that what a terminal sends to the harness does not end machines
    // before the harness has seen to them, and a kept machine outlives the terminal.
    if let Err(error) = rustix::process::setsid().map(drop).and_then(|()| rustix::thread::set_no_new_privs(true)) {
        return error.into();
    }
    if nice != 0 {
        give_way(nice);
    }
    let mut command = Command::new(&program);
    command.args(args);
    if let Some((uid, gid)) = user.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?))) {
        // Without explicit groups the standard library drops the supplementary ones.
        command.uid(uid).gid(gid);
    }
    let error = command.exec();
    io::Error::new(error.kind(), format!("{}: {error}", program.to_string_lossy()))
}

/// Whether it succeeds changes only how long things take. Where the kernel groups processes by session, as it does by
/// default, it is the group's own value that counts against other sessions; sched(7).
fn give_way(nice: i32) {
    let _ = rustix::process::setpriority_process(None, nice);
    drop(fs::write("/proc/self/autogroup", nice.to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_get_users_of_their_own_in_the_dynamic_range() {
        let (Some(a), Some(b)) = (Unprivileged::named("0a1b2c", None), Unprivileged::named("0a1b2d", None)) else {
            assert!(!rustix::process::geteuid().is_root());
            return;
        };
        assert_ne!(a, b);
        assert!((61_184..=65_519).contains(&a.uid) && (61_184..=65_519).contains(&b.uid));
    }
}
