//! Programs within the program: what must run as a process of its own is this very binary,
//! started with a hidden first argument, so that nothing has to be installed beside it.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::{
    launch,
    qemu::kvm_probe,
    reaper, relay,
    remote::{self, RemoteProvider},
};

pub(crate) const REAPER: &str = "__reaper";
pub(crate) const RELAY: &str = "__relay";
pub(crate) const KVM_PROBE: &str = "__kvm-probe";
pub(crate) const LAUNCH: &str = "__launch";

/// Runs the helper that the first argument names, and ends the process with it; returns at once
/// for any other first argument.
///
/// Every binary that takes a lease calls this first in `main`, before it starts threads or an
/// asynchronous runtime. `providers` are those whose remotes this program can remove.
pub fn dispatch(providers: &'static [RemoteProvider]) {
    remote::know(providers);
    let mut args = env::args_os().skip(1);
    let code = match args.next().as_deref().and_then(OsStr::to_str) {
        Some(REAPER) => reaper::main(args),
        Some(RELAY) => relay::main(args),
        Some(KVM_PROBE) => kvm_probe::main(),
        Some(LAUNCH) => launch::main(args),
        _ => return,
    };
    std::process::exit(if code == ExitCode::SUCCESS { 0 } else { 1 });
}

/// This binary, for a child of this process. It works even after the file was replaced.
pub(crate) fn program() -> &'static Path {
    Path::new("/proc/self/exe")
}

/// This binary's path, for a process that is not a child of this one.
pub(crate) fn program_path() -> std::io::Result<PathBuf> {
    env::current_exe()
}
