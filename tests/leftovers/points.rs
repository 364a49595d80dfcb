//! Ends at chosen points: while a program that the command started writes into what has to go away.

use std::{
    io::Read as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Pid;

use crate::{
    Way,
    home::{Home, wait, wait_until},
};

/// A program and the subcommand at which it stops and scribbles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) program: &'static str,
    pub(crate) subcommand: &'static str,
}

impl Point {
    /// Writing the reference world, cloning it, and decrypting its secrets.
    pub(crate) const ALL: [Self; 4] = [
        Self { program: "sops", subcommand: "encrypt" },
        Self { program: "git", subcommand: "fast-import" },
        Self { program: "git", subcommand: "clone" },
        Self { program: "sops", subcommand: "decrypt" },
    ];
}

/// How long a proof may take to get to a point, which is early.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a proof at `point`, and looks that nothing is left and that it says so.
pub(crate) fn ended_at(point: Point, way: Way) -> Result<()> {
    let home = Home::new()?;
    let path = stand_in(&home, point)?;
    let mut child = home.prove().arg("--no-machine").env("PATH", path).spawn()?;
    let reached = home.path("reached");
    wait_until("the point", PATIENCE, || {
        ensure!(child.try_wait()?.is_none(), "the proof ended before its point");
        Ok(reached.exists())
    })?;
    let leases = home.leases();
    let began = Instant::now();
    way.end(Pid::from_child(&child))?;
    let status = wait(&mut child)?;
    home.await_nothing(&leases, began)?;
    let mut said = String::new();
    child.stderr.take().context("piped")?.read_to_string(&mut said)?;
    if way != Way::Kill {
        ensure!(status.code() == Some(3) && said.contains("interrupted"), "{status}:\n{said}");
    }
    Ok(())
}

/// Puts a program in front of the real one, and returns the PATH on which it is. At the point it writes file after file
/// into its directory, if that is one that has to go away, and does not mind a signal that a person sends.
fn stand_in(home: &Home, point: Point) -> Result<String> {
    let Point { program, subcommand } = point;
    let real = coldproof_testbed::tools::find(program).context("the program is installed")?;
    let script = format!(
        r#"#!/bin/bash
trap '' INT HUP TERM
case " $* " in
*" {subcommand} "*)
    : >{reached}
    for moment in {{1..2000}}; do
        case $PWD in {home}/*) for n in {{1..50}}; do : >"$PWD/scribble-$moment-$n"; done 2>/dev/null ;; esac
        /bin/sleep 0.01
    done ;;
esac
exec {real} "$@"
"#,
        reached = home.path("reached").display(),
        home = home.root().display(),
        real = real.display(),
    );
    home.put_in_front(program, &script)
}
