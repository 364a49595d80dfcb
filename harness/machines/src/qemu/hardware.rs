//! The hardware that an image decides: an image of somebody's own expects what its configuration says.

use std::path::Path;

use super::{
    channel::Channel,
    command_line::{Arguments, escaped},
};
use crate::{
    disk_image::{Control, DiskBus, Firmware, Nic},
    provider::MachineImage,
};

/// OVMF's code and the variables that it starts with, where Debian's package `ovmf` has them.
pub(super) const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
pub(super) const OVMF_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

pub(super) fn firmware<'a>(line: &'a mut Arguments, firmware: Firmware, variables: &Path) -> &'a mut Arguments {
    match firmware {
        // What QEMU starts unless told otherwise.
        Firmware::Bios => line,
        Firmware::Uefi => line
            .option("-drive", &format!("if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}"))
            .option("-drive", &format!("if=pflash,format=raw,unit=1,file={}", escaped(variables.display()))),
    }
}

/// The root disk, whose back end is `disk0`.
pub(super) fn disk(line: &mut Arguments, image: &MachineImage) {
    let MachineImage::Disk(image) = image else {
        line.option("-device", "virtio-blk-pci,drive=disk0");
        return;
    };
    let (controller, device) = match image.bus {
        DiskBus::Virtio => (None, "virtio-blk-pci"),
        DiskBus::Sata => (Some("ich9-ahci,id=bus0"), "ide-hd,bus=bus0.0"),
        DiskBus::Scsi => (Some("virtio-scsi-pci,id=bus0"), "scsi-hd,bus=bus0.0"),
    };
    if let Some(controller) = controller {
        line.option("-device", controller);
    }
    let serial = image.serial.iter().map(|serial| format!(",serial={}", escaped(serial))).collect::<String>();
    // Firmware would look for something to boot on the network first.
    line.option("-device", &format!("{device},drive=disk0,bootindex=0{serial}"));
}

pub(super) fn nic(image: &MachineImage) -> &'static str {
    match image {
        MachineImage::Built(_) | MachineImage::Server(_) => "virtio-net-pci",
        MachineImage::Disk(image) => match image.nic {
            Nic::Virtio => "virtio-net-pci",
            Nic::E1000 => "e1000",
            Nic::E1000e => "e1000e",
        },
    }
}

/// The channels that the guest is controlled through.
pub(super) fn control_channels(image: &MachineImage) -> &'static [Channel] {
    let control = match image {
        MachineImage::Built(_) | MachineImage::Server(_) => &Control::Console,
        MachineImage::Disk(image) => &image.control,
    };
    match control {
        Control::Console => &[Channel::Console, Channel::Bulk],
        Control::GuestAgent => &[Channel::Agent],
        Control::Ssh { .. } => &[],
    }
}
