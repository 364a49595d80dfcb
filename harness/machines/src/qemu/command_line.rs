//! QEMU's command line, made in one place.
//!
//! A forked machine must have exactly the devices of the machine it is forked from, so both
//! come from here and differ only in [`Memory`], the files, and the network's back end.

use std::{net::Ipv4Addr, path::PathBuf};

use super::{channel::Channel, hardware};
use crate::provider::MachineImage;

/// The name of QEMU's network back end, which forwards are added to.
pub(super) const NETDEV: &str = "net0";

/// Enough of each packet for its addresses, its names (DNS, SNI) and nothing of its load.
const CAPTURE_BYTES: u32 = 256;

/// Quiet, and without waiting for hardware that is not there. The mitigations guard against
/// neighbours that a throwaway guest does not have.
const KERNEL_PARAMETERS: &str = "root=/dev/vda console=ttyS0 quiet loglevel=3 mitigations=off tsc=reliable \
no_timer_check random.trust_cpu=on systemd.show_status=0 nowatchdog audit=0 apparmor=0 lsm=capability \
net.ifnames=0 i8042.noaux i8042.nokbd";

/// How processors are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acceleration {
    /// The host's processors.
    Kvm,
    /// Translation; `tb-size` (MiB) bounds the buffer of translated code.
    Tcg,
}

impl Acceleration {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Where the guest's memory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Memory {
    /// In the process.
    Anonymous,
    /// In a file that is to become a stage.
    Template(PathBuf),
    /// A private, copy-on-write view of a stage's file; the device state comes from elsewhere.
    Fork(PathBuf),
}

/// A guest address that a program on the controller answers at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relay {
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    /// The program and arguments that QEMU starts for each connection.
    pub(super) argv: Vec<String>,
}

/// Everything the command line is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) acceleration: Acceleration,
    /// Bytes.
    pub(super) memory_size: u64,
    pub(super) memory: Memory,
    pub(super) cpus: u32,
    pub(super) image: MachineImage,
    /// The overlay (qcow2) that takes the guest's writes.
    pub(super) disk: PathBuf,
    pub(super) console_log: PathBuf,
    pub(super) packet_capture: PathBuf,
    /// What UEFI remembers between boots; there is such a file only where the image wants UEFI.
    pub(super) firmware_variables: PathBuf,
    pub(super) relays: Vec<Relay>,
}

impl CommandLine {
    /// The arguments, without the program.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut line = Arguments(Vec::new());
        line.flag("-nodefaults").flag("-no-user-config").option("-display", "none");
        self.processors_and_memory(&mut line);
        match &self.image {
            MachineImage::Built(image) => line
                .option("-kernel", &image.kernel.display().to_string())
                .option("-initrd", &image.initrd.display().to_string())
                .option("-append", KERNEL_PARAMETERS),
            MachineImage::Disk(image) => hardware::firmware(&mut line, image.firmware, &self.firmware_variables),
            MachineImage::Server(_) => &mut line,
        };
        self.devices(&mut line);
        self.network(&mut line);
        self.channels(&mut line);
        line.0
    }

    /// The channels between QEMU and this process, for which it needs sockets.
    pub(super) fn used_channels(&self) -> Vec<Channel> {
        let mut channels = vec![Channel::Qmp];
        channels.extend(hardware::control_channels(&self.image));
        channels
    }

    fn processors_and_memory(&self, line: &mut Arguments) {
        let machine = "q35,sata=off,smbus=off,vmport=off,hpet=off";
        let size = format!("{}M", self.memory_size.div_ceil(1024 * 1024));
        let file = |path: &PathBuf, mode: &str| {
            format!("memory-backend-file,id=ram,size={size},mem-path={},{mode}", escaped(path.display()))
        };
        match &self.memory {
            Memory::Anonymous => line.option("-machine", machine),
            Memory::Template(path) => line
                .option("-object", &file(path, "share=on"))
                .option("-machine", &format!("{machine},memory-backend=ram")),
            // `rom=off`: a private map of a read-only file may be written to.
            Memory::Fork(path) => line
                .option("-object", &file(path, "share=off,readonly=on,rom=off"))
                .option("-machine", &format!("{machine},memory-backend=ram"))
                .option("-incoming", "defer"),
        };
        let acceleration = match self.acceleration {
            Acceleration::Kvm => "kvm",
            Acceleration::Tcg => "tcg,thread=multi,tb-size=256",
        };
        line.option("-accel", acceleration)
            .option("-cpu", "max,la57=off,svm=off")
            .option("-m", &size)
            .option("-smp", &self.cpus.to_string());
    }

    fn devices(&self, line: &mut Arguments) {
        // `unsafe` ignores flushes: the disk never outlives the controller.
        let disk = format!("file={},if=none,id=disk0,cache=unsafe,discard=unmap", escaped(self.disk.display()));
        line.option("-drive", &disk);
        hardware::disk(line, &self.image);
        line.option("-device", "virtio-rng-pci")
            // A new generation id makes the kernel of a forked guest reseed its random numbers.
            .option("-device", "vmgenid,guid=auto")
            .option("-chardev", &format!("file,id=serial,path={}", escaped(self.console_log.display())))
            .option("-serial", "chardev:serial");
    }

    fn network(&self, line: &mut Arguments) {
        // `restrict`: the guest reaches no address but those of its relays.
        let mut netdev = format!("user,id={NETDEV},restrict=on");
        for relay in &self.relays {
            let command = escaped(shell_words::join(&relay.argv));
            netdev.push_str(&format!(",guestfwd=tcp:{}:{}-cmd:{command}", relay.address, relay.port));
        }
        let capture = escaped(self.packet_capture.display());
        line.option("-netdev", &netdev)
            .option("-device", &format!("{},netdev={NETDEV},id=nic0", hardware::nic(&self.image)))
            .option("-object", &format!("filter-dump,id=dump0,netdev={NETDEV},file={capture},maxlen={CAPTURE_BYTES}"));
    }

    fn channels(&self, line: &mut Arguments) {
        Channel::Qmp.socket(line);
        line.option("-mon", "chardev=qmp,mode=control").option("-device", "virtio-serial-pci");
        for channel in hardware::control_channels(&self.image) {
            channel.socket(line);
            channel.device(line);
        }
    }
}

pub(super) struct Arguments(Vec<String>);

impl Arguments {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.to_owned());
        self
    }

    pub(super) fn option(&mut self, name: &str, value: &str) -> &mut Self {
        self.flag(name).flag(value)
    }
}

/// QEMU ends a value at a comma, unless it is doubled.
pub(super) fn escaped(value: impl std::fmt::Display) -> String {
    value.to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk_image::{Control, DiskBus, DiskImage, Firmware, Nic},
        provider::BootImage,
    };
    use rstest::{Context, rstest};

    fn command_line(memory: Memory) -> CommandLine {
        CommandLine {
            acceleration: Acceleration::Tcg,
            memory_size: 2 << 30,
            memory,
            cpus: 2,
            image: BootImage {
                root: "/image/root.raw".into(),
                kernel: "/image/vmlinux".into(),
                initrd: "/image/initrd".into(),
                archive: "/image/root.tar.zst".into(),
                key: "key".into(),
            }
            .into(),
            disk: "/lease/disk.qcow2".into(),
            console_log: "/lease/console.log".into(),
            packet_capture: "/lease/capture.pcap".into(),
            firmware_variables: "/lease/variables.fd".into(),
            relays: vec![],
        }
    }

    #[rstest]
    #[case::cold(Memory::Anonymous)]
    #[case::template(Memory::Template("/lease/ram".into()))]
    #[case::fork(Memory::Fork("/stage/ram".into()))]
    fn the_whole_command_line(#[case] memory: Memory) {
        let name = format!("command_line_{}", format!("{memory:?}").split('(').next().unwrap().to_lowercase());
        insta::assert_snapshot!(name, command_line(memory).arguments().join(" ").replace(" -", "\n-"));
    }

    #[rstest]
    #[case::bios(Firmware::Bios, DiskBus::Virtio, Nic::Virtio, Control::GuestAgent)]
    #[case::uefi(Firmware::Uefi, DiskBus::Scsi, Nic::E1000e, Control::Ssh { key: "/key".into() })]
    #[case::console(Firmware::Bios, DiskBus::Sata, Nic::E1000, Control::Console)]
    fn a_disk_of_ones_own(
        #[context] context: Context,
        #[case] firmware: Firmware,
        #[case] bus: DiskBus,
        #[case] nic: Nic,
        #[case] control: Control,
    ) {
        let image = DiskImage { file: "/own,1.qcow2".into(), firmware, bus, serial: Some("a,b".into()), nic, control };
        let line = CommandLine { image: MachineImage::Disk(image), ..command_line(Memory::Anonymous) };
        let name = format!("own_disk_{}", context.description.unwrap());
        insta::assert_snapshot!(name, line.arguments().join(" ").replace(" -", "\n-"));
    }

    #[test]
    fn relays_survive_commas_and_spaces_in_paths() {
        let mut line = command_line(Memory::Anonymous);
        line.relays = vec![Relay {
            address: Ipv4Addr::new(10, 0, 2, 100),
            port: 80,
            argv: vec!["/a b/coldproof".into(), "__relay".into(), "/lease,1/s".into()],
        }];
        let arguments = line.arguments();
        let netdev = arguments.iter().find(|argument| argument.starts_with("user,")).unwrap();
        assert_eq!(
            netdev,
            "user,id=net0,restrict=on,guestfwd=tcp:10.0.2.100:80-cmd:'/a b/coldproof' __relay /lease,,1/s"
        );
    }

    #[test]
    fn a_fork_has_the_devices_of_its_template() {
        let devices = |memory| {
            let arguments = command_line(memory).arguments();
            let pairs: Vec<String> =
                arguments.windows(2).filter(|pair| pair[0] == "-device").map(|pair| pair[1].clone()).collect();
            pairs
        };
        let template = devices(Memory::Template("/lease/ram".into()));
        assert!(!template.is_empty());
        assert_eq!(template, devices(Memory::Fork("/stage/ram".into())));
    }
}
