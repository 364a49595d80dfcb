//! What of a configuration does not fit the declared machine. What it does not say is not judged.

use coldproof_machines::disk_image::{Control, DiskBus, DiskImage, Firmware};

use super::Facts;

/// How kernels begin the names of disks, in `/dev`.
const KERNEL_NAMES: &[&str] = &["vd", "sd", "hd", "xvd", "nvme", "mmcblk"];
const BY_ID: &str = "/dev/disk/by-id/";

/// Each with its remedy, in the order of a boot.
pub(super) fn misfits(facts: &Facts, image: &DiskImage) -> Vec<String> {
    let mut found: Vec<String> = firmware(facts, image.firmware).into_iter().collect();
    for device in facts.grub_devices.iter().filter(|_| facts.grub == Some(true)) {
        let remedy = format!("write /dev/{}", own_name(image.bus));
        found.extend(disk(&format!("boot.loader.grub.device = \"{device}\""), device, image, &remedy));
    }
    found.extend(modules(facts, image.bus));
    for (mount, device) in &facts.file_systems {
        if let Some(device) = device {
            let said = format!("fileSystems.\"{mount}\".device = \"{device}\"");
            found.extend(disk(&said, device, image, "name it by UUID or label"));
        }
    }
    found.extend(control(facts, &image.control));
    // `device` is among `devices`, too.
    found.dedup();
    found
}

/// A boot loader that this firmware does not start.
fn firmware(facts: &Facts, firmware: Firmware) -> Option<String> {
    let on_a_disk = facts.grub_devices.iter().any(|device| device != "nodev");
    let grub = (facts.grub == Some(true)).then_some((facts.grub_efi == Some(true), on_a_disk));
    match (firmware, facts.systemd_boot, grub) {
        (Firmware::Bios, Some(true), _) => Some(format!(
            "boot.loader.systemd-boot.enable = true needs UEFI, and the machine has a BIOS; {}",
            "write `firmware = \"uefi\"` under [machine.image]"
        )),
        (Firmware::Bios, _, Some((true, false))) => Some(format!(
            "boot.loader.grub has efiSupport and no disk of its own, and the machine has a BIOS; {}",
            "write `firmware = \"uefi\"` under [machine.image]"
        )),
        (Firmware::Uefi, Some(false) | None, Some((false, _))) => Some(format!(
            "boot.loader.grub has no efiSupport, and the machine has UEFI; {}",
            "write `firmware = \"bios\"` under [machine.image], or set boot.loader.grub.efiSupport"
        )),
        _ => None,
    }
}

/// A name of a disk that the machine does not have.
fn disk(said: &str, device: &str, image: &DiskImage, remedy: &str) -> Option<String> {
    if let Some(id) = device.strip_prefix(BY_ID) {
        return match &image.serial {
            Some(serial) if id.contains(serial.as_str()) => None,
            Some(serial) => Some(format!(
                "{said}, and the disk's serial number is {serial:?}; write the one of this path as `serial` under [machine.image]"
            )),
            None => Some(format!(
                "{said}, and the disk has no serial number; write the one of this path as `serial` under [machine.image]"
            )),
        };
    }
    let name = device.strip_prefix("/dev/")?;
    let begins = |prefix: &&&str| {
        name.strip_prefix(**prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    };
    let prefix = KERNEL_NAMES.iter().find(begins)?;
    let own = own_name(image.bus);
    if name.strip_prefix(own).is_some_and(|partition| partition.chars().all(|c| c.is_ascii_digit())) {
        return None;
    }
    let bus = match *prefix {
        "vd" => ", or write `bus = \"virtio\"` under [machine.image]",
        "sd" => ", or write `bus = \"sata\"` under [machine.image]",
        _ => "",
    };
    Some(format!("{said}, and the machine's one disk is /dev/{own}; {remedy}{bus}"))
}

/// How the guest's kernel names the only disk.
const fn own_name(bus: DiskBus) -> &'static str {
    match bus {
        DiskBus::Virtio => "vda",
        DiskBus::Sata | DiskBus::Scsi => "sda",
    }
}

/// An initial RAM disk that does not find the disk.
fn modules(facts: &Facts, bus: DiskBus) -> Option<String> {
    let available = facts.initrd_modules.as_ref()?;
    let needed: &[&str] = match bus {
        DiskBus::Virtio => &["virtio_pci", "virtio_blk"],
        DiskBus::Sata => &["ahci", "sd_mod"],
        DiskBus::Scsi => &["virtio_pci", "virtio_scsi", "sd_mod"],
    };
    let missing: Vec<&str> =
        needed.iter().copied().filter(|module| !available.iter().any(|has| has.replace('-', "_") == *module)).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "boot.initrd.availableKernelModules lacks {}, which the disk needs on its bus; add {}, or write another `bus` \
             under [machine.image]",
            missing.join(" and "),
            if missing.len() == 1 { "it" } else { "them" }
        )
    })
}

/// A host that takes the way in away.
fn control(facts: &Facts, control: &Control) -> Option<String> {
    match control {
        Control::GuestAgent if facts.guest_agent == Some(false) => Some(format!(
            "services.qemuGuest.enable = false takes the guest agent away in the switch; {}",
            "set it to true, or write `control = \"ssh\"` with `ssh-key` under [machine.image]"
        )),
        Control::Ssh { .. } if facts.ssh == Some(false) => Some(format!(
            "services.openssh.enable = false takes sshd away in the switch; {}",
            "set it to true, or write `control = \"guest-agent\"` under [machine.image]"
        )),
        Control::Ssh { .. } if facts.root_login.as_deref() == Some("no") => Some(format!(
            "services.openssh.settings.PermitRootLogin = \"no\" locks root out in the switch; {}",
            "set it to \"prohibit-password\", or write `control = \"guest-agent\"` under [machine.image]"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use coldproof_machines::disk_image::Nic;
    use rstest::rstest;

    use super::*;

    fn image() -> DiskImage {
        DiskImage {
            file: "disk.qcow2".into(),
            firmware: Firmware::Bios,
            bus: DiskBus::Virtio,
            serial: None,
            nic: Nic::Virtio,
            control: Control::GuestAgent,
        }
    }

    fn mounted(device: &str) -> Facts {
        Facts { file_systems: [("/".to_owned(), Some(device.to_owned()))].into(), ..Facts::default() }
    }

    fn initrd(modules: &[&str]) -> Facts {
        Facts { initrd_modules: Some(modules.iter().map(ToString::to_string).collect()), ..Facts::default() }
    }

    fn grub(device: &str, efi: bool) -> Facts {
        Facts { grub: Some(true), grub_devices: vec![device.into()], grub_efi: Some(efi), ..Facts::default() }
    }

    fn uefi() -> DiskImage {
        DiskImage { firmware: Firmware::Uefi, ..image() }
    }

    fn on(bus: DiskBus) -> DiskImage {
        DiskImage { bus, ..image() }
    }

    fn ssh() -> DiskImage {
        DiskImage { control: Control::Ssh { key: "key".into() }, ..image() }
    }

    #[rstest]
    #[case::nothing_said(Facts::default(), image())]
    #[case::uuid(mounted("/dev/disk/by-uuid/7c0a"), on(DiskBus::Sata))]
    #[case::ram(mounted("tmpfs"), image())]
    #[case::mapped(mounted("/dev/mapper/sda"), image())]
    #[case::several_disks(mounted("/dev/md0"), image())]
    #[case::virtio(mounted("/dev/vda2"), image())]
    #[case::serial(mounted("/dev/disk/by-id/virtio-root-0-part1"), DiskImage { serial: Some("root-0".into()), ..image() })]
    #[case::modules(initrd(&["virtio-pci", "virtio_blk", "ext4"]), image())]
    #[case::scsi_modules(initrd(&["virtio_pci", "virtio_scsi", "sd_mod"]), on(DiskBus::Scsi))]
    #[case::grub(grub("/dev/vda", false), image())]
    #[case::grub_for_both(grub("/dev/vda", true), uefi())]
    #[case::grub_off(Facts { grub: Some(false), ..grub("/dev/sda", false) }, uefi())]
    #[case::systemd_boot(Facts { systemd_boot: Some(true), ..Facts::default() }, uefi())]
    #[case::agent(Facts { guest_agent: Some(true), ssh: Some(false), ..Facts::default() }, image())]
    #[case::root_by_key(Facts { root_login: Some("prohibit-password".into()), ..Facts::default() }, ssh())]
    fn what_fits(#[case] facts: Facts, #[case] image: DiskImage) {
        assert_eq!(misfits(&facts, &image), Vec::<String>::new());
    }

    #[rstest]
    #[case::bus(mounted("/dev/sda1"), image(), "the machine's one disk is /dev/vda", "`bus = \"sata\"`")]
    #[case::other_bus(mounted("/dev/vda1"), on(DiskBus::Scsi), "one disk is /dev/sda", "`bus = \"virtio\"`")]
    #[case::second_disk(mounted("/dev/vdb"), image(), "one disk is /dev/vda", "by UUID")]
    #[case::nvme(mounted("/dev/nvme0n1p2"), image(), "fileSystems.\"/\".device", "by UUID or label")]
    #[case::no_serial(mounted("/dev/disk/by-id/virtio-x"), image(), "no serial number", "`serial`")]
    #[case::serial(
        mounted("/dev/disk/by-id/virtio-x"), DiskImage { serial: Some("y".into()), ..image() }, "number is \"y\"", "`serial`")]
    #[case::modules(initrd(&["ahci"]), image(), "lacks virtio_pci and virtio_blk", "add them")]
    #[case::ahci(initrd(&["sd_mod"]), on(DiskBus::Sata), "lacks ahci,", "add it")]
    #[case::grub_disk(grub("/dev/sda", false), image(), "boot.loader.grub.device = \"/dev/sda\"", "`bus = \"sata\"`")]
    #[case::grub_bios(grub("/dev/vda", false), uefi(), "no efiSupport", "`firmware = \"bios\"`")]
    #[case::grub_efi(grub("nodev", true), image(), "the machine has a BIOS", "`firmware = \"uefi\"`")]
    #[case::systemd_boot(Facts { systemd_boot: Some(true), ..Facts::default() }, image(), "needs UEFI", "\"uefi\"")]
    #[case::agent(Facts { guest_agent: Some(false), ..Facts::default() }, image(), "qemuGuest.enable", "\"ssh\"")]
    #[case::sshd(Facts { ssh: Some(false), ..Facts::default() }, ssh(), "openssh.enable", "\"guest-agent\"")]
    #[case::root(Facts { root_login: Some("no".into()), ..Facts::default() }, ssh(), "locks root out", "prohibit")]
    fn what_does_not(#[case] facts: Facts, #[case] image: DiskImage, #[case] problem: &str, #[case] remedy: &str) {
        let found = misfits(&facts, &image);
        assert_eq!(found.len(), 1, "{found:?}");
        let (said, then) = found[0].split_once("; ").unwrap();
        assert!(said.contains(problem) && then.contains(remedy), "{found:?}");
    }
}
