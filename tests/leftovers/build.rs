//! Ends the build of an image.

use std::{fs, process::Child, time::Instant};

use anyhow::{Result, ensure};
use rustix::process::{Pid, geteuid};
use tempfile::TempDir;

use crate::{
    Way,
    home::{Home, LIMIT, wait, wait_until},
};

/// A build that gets as far as its longest step.
struct Build {
    home: Home,
    /// On a disk: a build looks for room first.
    cache: TempDir,
    path: String,
}

/// Ends a build within its longest step, and looks that none of its programs is left and the next build can start at once.
pub(crate) fn ended_build(way: Way) -> Result<()> {
    let home = Home::new()?;
    let build = Build { cache: tempfile::tempdir()?, path: stand_in(&home)?, home };
    for way in [way, Way::Kill] {
        let mut child = build.start()?;
        let began = Instant::now();
        way.end(Pid::from_child(&child))?;
        wait(&mut child)?;
        build.home.await_nothing(&[], began)?;
    }
    Ok(())
}

impl Build {
    /// Starts one, and returns once it is within its longest step.
    fn start(&self) -> Result<Child> {
        let mut command = self.home.coldproof("image");
        let mut child = command.env("COLDPROOF_CACHE", self.cache.path()).env("PATH", &self.path).spawn()?;
        let reached = self.home.path("reached");
        wait_until("within the longest step", LIMIT, || {
            ensure!(child.try_wait()?.is_none(), "the build ended before its longest step");
            Ok(reached.exists())
        })?;
        fs::remove_file(reached)?;
        Ok(child)
    }
}

/// A mmdebstrap that starts another program, as those of packages do, and does not mind a signal that a person sends.
fn stand_in(home: &Home) -> Result<String> {
    // Only root's build has what it takes to end a program that cleared its environment.
    let start = if geteuid().is_root() { "env -i setsid" } else { "setsid" };
    let script = format!(
        "#!/bin/bash\ntrap '' INT HUP TERM\ncd {root}\n{start} /bin/sleep 60 &\n: >{reached}\n/bin/sleep 60\n",
        root = home.root().display(),
        reached = home.path("reached").display(),
    );
    home.put_in_front("mmdebstrap", &script)
}
