//! Bare repositories made of given commits, and the few other git commands that a world needs.

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};

const AUTHOR: &str = "Coldproof Reference <reference@ci.example.test>";

/// What a path holds in a commit.
#[derive(Clone)]
pub(crate) enum Entry {
    File(Vec<u8>),
    /// The commit that a submodule is at.
    Gitlink(String),
}

/// Paths in a commit.
pub(crate) type Tree = BTreeMap<String, Entry>;

/// A commit: what it changes against the one before it.
pub(crate) struct Commit<'a> {
    pub(crate) message: &'a str,
    pub(crate) tree: Tree,
}

/// Makes the bare repository `path` whose branch `main` is `commits`, oldest first, and returns their ids.
pub(crate) fn create_bare(path: &Path, commits: &[Commit<'_>]) -> Result<Vec<String>> {
    let name = path.to_str().context("the path of a world must be UTF-8")?;
    git(
        path.parent().unwrap_or(Path::new(".")),
        &["init", "--quiet", "--bare", "--template=", "--initial-branch=main", name],
    )?;
    let mut import = command(path);
    import.args(["fast-import", "--quiet"]).stdin(Stdio::piped());
    run(import, &stream(commits)?)?;
    Ok(git(path, &["rev-list", "--reverse", "main"])?.lines().map(str::to_owned).collect())
}

/// Runs git in `dir` and returns what it printed.
pub(crate) fn git(dir: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = command(dir);
    command.args(arguments);
    run(command, &[])
}

/// A git that reads no configuration but the repository's own.
fn command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for inherited in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(inherited);
    }
    command
}

/// Runs `command` with `stdin` and returns what it printed.
pub(crate) fn run(mut command: Command, stdin: &[u8]) -> Result<String> {
    let program =
        format!("{} {}", command.get_program().display(), command.get_args().next().unwrap_or_default().display());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{program}`: is it installed?"))?;
    // Taken and dropped here, so that the program sees the end of its input. One that did not read it all says why itself.
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(stdin));
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("`{program}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    written.with_context(|| format!("`{program}` did not read its input"))?;
    String::from_utf8(output.stdout).with_context(|| format!("`{program}` printed something that is not UTF-8"))
}

/// `commits` in the language of git-fast-import(1).
fn stream(commits: &[Commit<'_>]) -> Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut stream = Vec::new();
    for commit in commits {
        write!(stream, "commit refs/heads/main\ncommitter {AUTHOR} {now} +0000\n")?;
        data(&mut stream, commit.message.as_bytes())?;
        for (path, entry) in &commit.tree {
            match entry {
                Entry::File(bytes) => {
                    writeln!(stream, "M 100644 inline {path}")?;
                    data(&mut stream, bytes)?;
                }
                Entry::Gitlink(id) => writeln!(stream, "M 160000 {id} {path}")?,
            }
        }
    }
    Ok(stream)
}

fn data(stream: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    writeln!(stream, "data {}", bytes.len())?;
    stream.extend_from_slice(bytes);
    stream.push(b'\n');
    Ok(())
}
