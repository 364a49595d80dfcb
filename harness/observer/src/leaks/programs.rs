//! What has to be asked of programs: the journal, which compresses fields one by one, and packed git objects, which are
//! made of differences.

use std::{
    io::{self, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{
    Search,
    files::{chunk, scan},
    surface,
};
use crate::program;

/// The whole journal with all fields, in the format that keeps every byte.
pub(super) fn journal(search: &Search<'_>) {
    let arguments = ["--output=export", "--all", "--merge", "--no-pager", "--quiet"];
    let read = stream("journalctl", |command| command.args(arguments)).and_then(|mut child| {
        let mut stdout = piped(&mut child)?;
        let read = scan(search.matcher.scanner(), &mut stdout, &mut chunk(), |_| {})?;
        ended(child).map(|()| read)
    });
    match read {
        Ok(read) => search.report.looked(surface::JOURNAL, "the journal", read.bytes, &read.hits, None),
        Err(error) => search.report.gap(format!("the journal: {error}")),
    }
}

/// Every object of a repository, packed or not, whether anything refers to it or not.
pub(super) fn git_objects(search: &Search<'_>, git_dir: &Path) {
    let looked = stream("git", |command| {
        // A repository of another account is looked at as well. Nothing of it is run by this.
        command.args(["-c", "safe.directory=*", "--git-dir"]).arg(git_dir);
        command.args(["cat-file", "--batch-all-objects", "--batch", "--buffer"])
    })
    .and_then(|mut child| {
        let mut stdout = BufReader::new(piped(&mut child)?);
        let mut chunk = chunk();
        while let Some((id, size)) = next_object(&mut stdout)? {
            let read = scan(search.matcher.scanner(), &mut stdout.by_ref().take(size), &mut chunk, |_| {})?;
            let place = format!("object {id} of {}", git_dir.display());
            search.report.looked(surface::GIT, &place, read.bytes, &read.hits, None);
            stdout.read_exact(&mut [0])?;
        }
        ended(child)
    });
    if let Err(error) = looked {
        search.report.gap(format!("git objects of {}: {error}", git_dir.display()));
    }
}

/// The line before each object: `ID TYPE SIZE`.
fn next_object(stream: &mut impl io::BufRead) -> io::Result<Option<(String, u64)>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let header = words.next().zip(words.nth(1)).and_then(|(id, size)| Some((id.to_owned(), size.parse().ok()?)));
    header.map(Some).ok_or_else(|| io::Error::other(format!("`{}` is no object", line.trim())))
}

fn stream(name: &str, set: impl FnOnce(&mut Command) -> &mut Command) -> io::Result<Child> {
    let program = program::find(name).map_err(io::Error::other)?;
    let mut command = Command::new(program);
    set(&mut command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).env("LC_ALL", "C").spawn()
}

fn piped(child: &mut Child) -> io::Result<impl Read + use<>> {
    child.stdout.take().ok_or_else(|| io::Error::other("it was started without its pipe"))
}

fn ended(mut child: Child) -> io::Result<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the program that reads it failed: {status}"))) }
}
