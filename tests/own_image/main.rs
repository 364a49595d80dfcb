//! The reference host, proved on an image of somebody's own: with a boot loader, and without anything of the harness.

mod image;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, ExitCode, Output},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use tempfile::TempDir;

use self::image::OwnImage;

fn main() -> ExitCode {
    let trials = vec![
        trial("proved_through_the_guest_agent::@nightly", || proved("serial = \"root-0\"")),
        trial("proved_over_ssh::@nightly", || proved("bus = \"scsi\"\ncontrol = \"ssh\"\nssh-key = \"KEY\"")),
        trial("uefi_and_ahci_boot::@nightly", uefi_boots),
        trial("an_image_without_an_agent_says_what_to_do", no_agent),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The tag is that of scenarios, so that the same filters select them.
fn trial(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(format!("{name}::@qemu"), move || test().map_err(|error| Failed::from(format!("{error:#}"))))
}

fn proved(keys: &str) -> Result<()> {
    let image = OwnImage::ensure()?;
    let keys = keys.replace("KEY", &image.key.display().to_string());
    let output = World::new(&image.disk.display().to_string(), &keys)?.prove(&[])?;
    ensure!(output.status.code() == Some(0), "{}", words(&output));
    Ok(())
}

fn uefi_boots() -> Result<()> {
    let image = OwnImage::ensure()?;
    let world = World::new(&image.disk.display().to_string(), "firmware = \"uefi\"\nbus = \"sata\"\nnic = \"e1000\"")?;
    let output = world.prove(&["--only", "blank.inventory"])?;
    ensure!(output.status.code() == Some(0), "{}", words(&output));
    Ok(())
}

fn no_agent() -> Result<()> {
    let disk = tempfile::Builder::new().suffix(".qcow2").tempfile()?;
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o644))?;
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(disk.path()).arg("1G").status()?;
    ensure!(made.success(), "qemu-img: {made}");
    let world = World::new(&disk.path().display().to_string(), "")?;
    world.define("deadline = \"10m\"", "deadline = \"15s\"")?;
    let output = world.prove(&["--only", "blank.inventory"])?;
    let said = words(&output);
    ensure!(output.status.code() == Some(3), "{said}");
    let paragraph = said.split_once("coldproof: ").with_context(|| said.clone())?.1;
    ensure!(!paragraph.trim_end().contains("\n\n"), "{paragraph}");
    for part in ["no QEMU guest agent", "services.qemuGuest.enable", "control = \"ssh\""] {
        ensure!(paragraph.contains(part), "`{part}` is not in: {paragraph}");
    }
    Ok(())
}

/// A reference world whose machine boots an image of its own.
struct World(TempDir);

impl World {
    fn new(disk: &str, keys: &str) -> Result<Self> {
        let world = Self(tempfile::tempdir()?);
        let written = world.run(&["reference", "world"])?;
        ensure!(written.status.success(), "{}", words(&written));
        let table = format!("[machine.image]\nfile = \"{disk}\"\n{keys}\n\n");
        world.define("[secrets.", &format!("{table}[secrets."))?;
        let waived = "{ what = \"listener:22\", reason = \"the image's way in\" }";
        world.define("waive = [\n", &format!("waive = [\n    {waived},\n"))?;
        Ok(world)
    }

    fn define(&self, old: &str, new: &str) -> Result<()> {
        let file: PathBuf = self.0.path().join("world/coldproof.toml");
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(old), "{old} is not in the reference world's definition");
        Ok(fs::write(file, text.replacen(old, new, 1))?)
    }

    fn prove(&self, arguments: &[&str]) -> Result<Output> {
        self.run(&[&["prove", "--host", "world/coldproof.toml", "--out", "bundle"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(env!("CARGO_BIN_EXE_coldproof")).args(arguments).current_dir(&self.0).output()?)
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
