//! A disk image as somebody else would have it: GRUB, the distribution's kernel and initial RAM disk, the QEMU guest
//! agent and sshd, and what the reference host needs to be rebuilt. Built once, kept by what it is made of.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use coldproof_evidence::Digest;
use coldproof_machines::{
    image::{Recipe, fetch_binary, mirror},
    paths::Paths,
};
use coldproof_reference::image_recipe;

const BUILD: &str = include_str!("build.sh");
const CUSTOMISE: &str = include_str!("customise.sh");

/// What such an image has beyond the reference image's packages.
const PACKAGES: &[&str] =
    &["dosfstools", "grub-common", "grub-efi-amd64-bin", "grub-pc-bin", "initramfs-tools", "mtools", "zstd"];

/// What the reference image has for the harness alone.
const OURS: &[&str] = &["coldproof-console", "throwaway-guest"];

/// The image's files.
pub(crate) struct OwnImage {
    pub(crate) disk: PathBuf,
    /// The private key that root accepts.
    pub(crate) key: PathBuf,
}

impl OwnImage {
    /// The image in the cache, which is built first if need be.
    pub(crate) fn ensure() -> Result<Self> {
        let recipe = image_recipe();
        let images = Paths::from_env().cache.join("own-images");
        let key = Digest::of(format!("{}{BUILD}{CUSTOMISE}{PACKAGES:?}", recipe.key())).hex();
        fs::create_dir_all(&images)?;
        let lock = File::create(images.join(".lock"))?;
        lock.lock()?;
        let dir = images.join(key);
        if !dir.exists() {
            let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(&images)?;
            build(&recipe, draft.path())?;
            fs::rename(draft.path().join("image"), &dir)?;
        }
        Ok(Self { disk: dir.join("disk.qcow2"), key: dir.join("id") })
    }
}

fn build(recipe: &Recipe, draft: &Path) -> Result<()> {
    let (scripts, files, image) = (draft.join("scripts"), draft.join("files"), draft.join("image"));
    fs::create_dir(&image)?;
    for (name, text) in [("build.sh", BUILD), ("customise.sh", CUSTOMISE)] {
        write(&scripts.join(name), 0o755, text.as_bytes())?;
    }
    for file in recipe.files.iter().filter(|file| !OURS.iter().any(|ours| file.path.contains(ours))) {
        write(&files.join(file.path.trim_start_matches('/')), file.mode, file.contents.as_bytes())?;
    }
    for binary in &recipe.binaries {
        let program = fetch_binary(&Paths::from_env().cache.join("tools"), binary, &|line| eprintln!("{line}"))?;
        write(&files.join(binary.guest_path.trim_start_matches('/')), 0o755, &fs::read(program)?)?;
    }
    let mirror = mirror()?;
    let packages: Vec<&str> = recipe.packages.iter().map(String::as_str).chain(PACKAGES.iter().copied()).collect();
    let status = Command::new("bash")
        .arg(scripts.join("build.sh"))
        .args([image.as_path(), mirror.uri.as_ref(), &mirror.keyring, packages.join(",").as_ref()])
        .args([recipe.suite.as_ref(), files.as_path()])
        .status()
        .context("building an image with a boot loader")?;
    ensure!(status.success(), "building an image with a boot loader: {status}");
    Ok(())
}

fn write(path: &Path, mode: u32, contents: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
    fs::write(path, contents)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}
