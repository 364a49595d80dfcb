//! Ends the build of an image.

use std::{fs, io::Read as _, path::Path, process::Child, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};
use coldproof_testbed::tools;
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

/// Ends a build within its longest step, of a proof and then by itself, and looks that none of its programs is left. The
/// second one can start at once only because it has nothing to wait for.
pub(crate) fn ended_build(way: Way) -> Result<()> {
    let home = Home::new()?;
    let build = Build { cache: tempfile::tempdir()?, path: stand_in(&home)?, home };
    let said = build.end("prove", way)?;
    if [Way::Interrupt, Way::Terminate, Way::HangUp].contains(&way) {
        // It let itself be interrupted, instead of ending because it did not.
        ensure!(said.contains("everything this run had made is removed"), "{said}");
    }
    build.end("image", way).map(drop)
}

impl Build {
    /// Starts one, ends it, and returns what it said.
    fn end(&self, subcommand: &str, way: Way) -> Result<String> {
        let mut child = self.start(subcommand)?;
        let began = Instant::now();
        way.end(Pid::from_child(&child))?;
        wait(&mut child)?;
        self.home.await_nothing(&[], began)?;
        said(&mut child)
    }

    /// Starts one, and returns once it is within its longest step.
    fn start(&self, subcommand: &str) -> Result<Child> {
        let mut command = self.home.coldproof(subcommand);
        let mut child = command.env("COLDPROOF_CACHE", self.cache.path()).env("PATH", &self.path).spawn()?;
        let reached = self.home.path("reached");
        wait_until("within the longest step", LIMIT, || {
            if child.try_wait()?.is_some() {
                bail!("the build ended before its longest step: {}", said(&mut child)?);
            }
            Ok(reached.exists())
        })?;
        fs::remove_file(reached)?;
        Ok(child)
    }
}

/// What a build that has ended said.
fn said(child: &mut Child) -> Result<String> {
    let mut said = String::new();
    child.stderr.take().context("piped")?.read_to_string(&mut said)?;
    Ok(said)
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
    let path = home.put_in_front("mmdebstrap", &script)?;
    // The tools of the real cache, as this one has none.
    let sops = tools::sops()?;
    Ok(format!("{path}:{}", sops.parent().unwrap_or(Path::new("/")).display()))
}
