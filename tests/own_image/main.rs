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
use tempfile::{NamedTempFile, TempDir};

use self::image::OwnImage;

fn main() -> ExitCode {
    let trials = vec![
        trial("proved_through_the_guest_agent::@nightly", || proved("serial = \"root-0\"")),
        trial("proved_over_ssh_under_uefi::@nightly", || {
            proved("firmware = \"uefi\"\nbus = \"scsi\"\ncontrol = \"ssh\"\nssh-key = \"KEY\"")
        }),
        trial("uefi_and_ahci_boot::@nightly", uefi_boots),
        trial("an_image_without_an_agent_says_what_to_do", no_agent),
        trial("a_configuration_for_another_machine_is_refused_before_it_boots::@nix", misfit),
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
    let world = World::new(&image.disk.display().to_string(), &keys)?;
    // A distribution's own boot is a slow one where machines are emulated, and there are up to four at a time.
    world.define("deadline = \"10m\"", "deadline = \"30m\"")?;
    let output = world.prove(&[])?;
    ensure!(output.status.code() == Some(0), "{}", words(&output));
    Ok(())
}

fn uefi_boots() -> Result<()> {
    let image = OwnImage::ensure()?;
    // Its network card stays the default one: the image's kernel, made for clouds, drives no `e1000`.
    let world = World::new(&image.disk.display().to_string(), "firmware = \"uefi\"\nbus = \"sata\"")?;
    let output = world.prove(&["--only", "blank.inventory"])?;
    ensure!(output.status.code() == Some(0), "{}", words(&output));
    // What OVMF calls the part of it that chooses what to boot.
    let console = fs::read(world.0.path().join("bundle/attachments/console.log"))?;
    let console = String::from_utf8_lossy(&console);
    ensure!(console.contains("BdsDxe: starting Boot"), "it was not UEFI that booted it: {console}");
    Ok(())
}

/// A disk without anything on it.
fn empty_disk() -> Result<NamedTempFile> {
    let disk = tempfile::Builder::new().suffix(".qcow2").tempfile()?;
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o644))?;
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(disk.path()).arg("1G").status()?;
    ensure!(made.success(), "qemu-img: {made}");
    Ok(disk)
}

fn no_agent() -> Result<()> {
    let disk = empty_disk()?;
    let world = World::new(&disk.path().display().to_string(), "")?;
    world.define("deadline = \"10m\"", "deadline = \"15s\"")?;
    let output = world.prove(&["--only", "blank.inventory"])?;
    let said = words(&output);
    ensure!(output.status.code() == Some(3), "{said}");
    // The reference host's flake says nothing of disks, or there is no Nix here.
    ensure!(said.contains("was not compared with [machine.image]"), "{said}");
    let paragraph = said.split_once("coldproof: ").with_context(|| said.clone())?.1;
    ensure!(!paragraph.trim_end().contains("\n\n"), "{paragraph}");
    for part in ["no QEMU guest agent", "services.qemuGuest.enable", "control = \"ssh\""] {
        ensure!(paragraph.contains(part), "`{part}` is not in: {paragraph}");
    }
    Ok(())
}

/// What a NixOS host with GRUB on a SATA disk and without the guest agent says, in a flake that needs no nixpkgs.
const FOR_ANOTHER_MACHINE: &str = r#"{
  outputs = _: {
    nixosConfigurations.cc-ci.config = {
      boot.loader.grub = { enable = true; device = "/dev/sda"; devices = [ "/dev/sda" ]; efiSupport = false; };
      boot.initrd.availableKernelModules = [ "ahci" "sd_mod" ];
      fileSystems."/" = { device = "/dev/disk/by-label/root"; fsType = "ext4"; };
      services.qemuGuest.enable = false;
      system.build.toplevel = throw "nothing is built";
    };
  };
}"#;

fn misfit() -> Result<()> {
    let disk = empty_disk()?;
    let world = World::new(&disk.path().display().to_string(), "")?;
    world.commit("flake.nix", FOR_ANOTHER_MACHINE)?;
    let output = world.prove(&["--only", "blank.inventory"])?;
    let said = words(&output);
    ensure!(output.status.code() == Some(2), "{said}");
    for part in
        ["boot.loader.grub.device = \"/dev/sda\"", "lacks virtio_pci and virtio_blk", "services.qemuGuest.enable"]
    {
        ensure!(said.contains(part), "`{part}` is not in: {said}");
    }
    for part in ["by-label", "booted", "nothing is built"] {
        ensure!(!said.contains(part), "`{part}` is in: {said}");
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

    /// Commits a file to the host's repository.
    fn commit(&self, file: &str, text: &str) -> Result<()> {
        let git = |arguments: &[&str]| -> Result<()> {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=test", "-c", "user.email=test@example.test"]).args(arguments);
            let output = git.current_dir(&self.0).output()?;
            ensure!(output.status.success(), "git {arguments:?}: {}", words(&output));
            Ok(())
        };
        git(&["clone", "-q", "world/base.git", "work"])?;
        fs::write(self.0.path().join("work").join(file), text)?;
        git(&["-C", "work", "commit", "-q", "-a", "-m", "Change the host"])?;
        git(&["-C", "work", "push", "-q"])
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
