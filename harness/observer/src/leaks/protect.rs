//! This process holds every secret of the host for some seconds: nothing of it may be left anywhere.

use anyhow::Context as _;
use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
};

/// Keeps the process from dumping core, being traced by other accounts, and being swapped out.
pub(super) fn from_dumps_and_swap() -> anyhow::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context("forbidding core dumps")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("forbidding core dumps")?;
    let limit = getrlimit(Resource::Memlock);
    if limit.current.is_some() {
        // All or nothing: within a limit the process would be locked now, and denied its threads' stacks later. Whoever may
        // lock as much as he likes, which root of a container may not, may do so with a limit of nothing.
        setrlimit(Resource::Memlock, Rlimit { current: Some(0), ..limit }).context("limiting locked memory")?;
    }
    // Where memory may not be locked the search goes on: swap is one of the places that it looks through.
    if let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE) {
        eprintln!("observer: memory cannot be locked: {error}");
    }
    Ok(())
}
