//! The image of one's own in a host definition: what can be told by its header is told before anything boots.

use std::collections::BTreeSet;

use coldproof_machines::disk_image::{Control, DiskImage, disk_size};
use toml::Spanned;

use super::{
    HostError, KeySource, PackageName, Size,
    definition::Provider,
    document::{ControlWord, ImageTable},
    load::Loader,
};

/// What QEMU and the guest's kernel take of a serial number on every bus (virtio-blk: 20 bytes).
const LONGEST_SERIAL: usize = 20;

impl Loader<'_> {
    pub(super) fn image(
        &self,
        written: Spanned<ImageTable>,
        provider: Provider,
        disk: Size,
    ) -> Result<DiskImage, HostError> {
        let span = written.span();
        // Over SSH it is for the machine that builds.
        if !matches!(provider, Provider::Qemu | Provider::Ssh) {
            return Err(self.document.error(
                span,
                format!("the provider `{}` boots no disk image", provider.word()),
                "write `provider = \"qemu\"` under [machine], or leave [machine.image] out",
            ));
        }
        let written = written.into_inner();
        let file = self.existing(&written.file, "a qcow2 with a boot loader")?;
        // QEMU's own user opens it, and need not be able to enter the directory of the host definition.
        let file = file.canonicalize().unwrap_or(file);
        let refused = |problem: String, remedy: &str| self.document.error(written.file.span(), problem, remedy);
        let size = disk_size(&file).map_err(|error| {
            let text = error.to_string();
            let (problem, remedy) = text.split_once("; ").unwrap_or((&text, "name a qcow2 that can be read"));
            refused(problem.to_owned(), remedy)
        })?;
        if disk.bytes() < size {
            let problem =
                format!("the image is a disk of {} MiB, and the machine's has {}", size >> 20, disk.bytes() >> 20);
            return Err(refused(problem, &format!("write `disk = \"{}MiB\"` or more under [machine]", size >> 20)));
        }
        Ok(DiskImage {
            control: self.control(&span, written.control, written.ssh_key)?,
            serial: written.serial.map(|serial| self.serial(serial)).transpose()?,
            firmware: written.firmware,
            bus: written.bus,
            nic: written.nic,
            file,
        })
    }

    /// Packages go into the image that coldproof builds; one of the host's own has what it has.
    pub(super) fn packages(
        &self,
        written: Option<Spanned<Vec<Spanned<PackageName>>>>,
        own_image: bool,
    ) -> Result<BTreeSet<PackageName>, HostError> {
        let Some(written) = written else { return Ok(BTreeSet::new()) };
        if own_image {
            return Err(self.document.error(
                written.span(),
                "packages for an image that is there already",
                "build them into that image and leave `packages` out, or leave the image out and have coldproof build one",
            ));
        }
        let mut packages = BTreeSet::new();
        for package in written.into_inner() {
            self.refuse_duplicate(&package, packages.contains(package.get_ref()))?;
            packages.insert(package.into_inner());
        }
        Ok(packages)
    }

    fn control(
        &self,
        table: &std::ops::Range<usize>,
        control: ControlWord,
        key: Option<Spanned<String>>,
    ) -> Result<Control, HostError> {
        match (control, key) {
            (ControlWord::GuestAgent, None) => Ok(Control::GuestAgent),
            (ControlWord::Console, None) => Ok(Control::Console),
            (ControlWord::Ssh, Some(key)) => match self.key_file(key.span(), key.into_inner())? {
                KeySource::File(key) => Ok(Control::Ssh { key }),
                KeySource::Env(_) | KeySource::Command(_) => unreachable!("a key file is a file"),
            },
            (ControlWord::Ssh, None) => Err(self.document.error(
                table.clone(),
                "`control = \"ssh\"` without a key",
                "add `ssh-key = \"PATH\"`, a private key that root accepts in the image",
            )),
            (_, Some(key)) => Err(self.document.error(
                key.span(),
                "a key for SSH, which does not control this machine",
                "write `control = \"ssh\"`, or leave `ssh-key` out",
            )),
        }
    }

    fn serial(&self, serial: Spanned<String>) -> Result<String, HostError> {
        let text = serial.get_ref();
        let fits = !text.is_empty() && text.len() <= LONGEST_SERIAL && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            return Ok(serial.into_inner());
        }
        Err(self.document.error(
            serial.span(),
            "this is no serial number of a disk",
            format!("write 1 to {LONGEST_SERIAL} letters, digits or signs, as /dev/disk/by-id shows them"),
        ))
    }
}
