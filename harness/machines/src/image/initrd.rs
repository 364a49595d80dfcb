//! The initial RAM disk: only what reaches the root disk, since an emulated processor unpacks it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use cpio::newc::{Builder, ModeFileType, trailer};

/// The first program that runs in the machine.
pub(super) const INIT: &str = include_str!("init.sh");

/// Why no initial RAM disk can be made.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// The tree holds no kernel, or several.
    #[error("{} holds {count} kernels; the recipe's packages must bring exactly one", path.display())]
    Kernels {
        /// The directory of kernel modules.
        path: PathBuf,
        /// How many are there.
        count: usize,
    },
    /// A module is neither a file of the kernel package nor built into the kernel.
    #[error("the kernel has no module `{0}`; correct the recipe's initrd_modules")]
    NoModule(String),
    /// A file of the tree cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InitrdError {
    move |source| InitrdError::Io { path: path.into(), source }
}

/// The directory of the tree's only kernel's modules; its name is the kernel's version.
///
/// # Errors
/// When there is not exactly one.
pub(super) fn module_directory(root: &Path) -> Result<PathBuf, InitrdError> {
    let path = root.join("usr/lib/modules");
    let entries = fs::read_dir(&path).map_err(at(&path))?;
    let mut kernels = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(at(&path))?;
    match (kernels.pop(), kernels.len()) {
        (Some(kernel), 0) => Ok(kernel),
        (last, others) => Err(InitrdError::Kernels { path, count: others + usize::from(last.is_some()) }),
    }
}

/// Makes the RAM disk for a tree whose modules are already unpacked.
///
/// # Errors
/// When a module or busybox is not in the tree.
pub(super) fn build(root: &Path, modules: &[String]) -> Result<Vec<u8>, InitrdError> {
    let directory = module_directory(root)?;
    let read = |name: &str| -> Result<String, InitrdError> {
        let path = directory.join(name);
        fs::read_to_string(&path).map_err(at(&path))
    };
    let dep = read("modules.dep")?;
    let paths = load_order(modules, &dep, &read("modules.builtin")?)?;
    let busybox = root.join("usr/bin/busybox");
    let mut files = vec![
        ("init".to_owned(), INIT.as_bytes().to_vec()),
        ("bin/busybox".to_owned(), fs::read(&busybox).map_err(at(&busybox))?),
    ];
    for (number, path) in paths.iter().enumerate() {
        let file = directory.join(path);
        // The number is the order in which init's glob finds them.
        files.push((format!("modules/{number:02}-{}.ko", module_name(path)), fs::read(&file).map_err(at(&file))?));
    }
    archive(&["bin", "dev", "modules", "proc", "root", "sys"], &files).map_err(at(Path::new("the initial RAM disk")))
}

/// Paths of `modules` and of what they need, each after everything that it needs itself
/// (modprobe(8) `--show-depends`).
fn load_order<'a>(modules: &[String], dep: &'a str, builtin: &str) -> Result<Vec<&'a str>, InitrdError> {
    let mut order: Vec<&str> = Vec::new();
    for name in modules {
        let line = dep.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| module_name(path) == *name);
        let Some((path, needs)) = line else {
            if builtin.lines().any(|path| module_name(path) == *name) {
                continue;
            }
            return Err(InitrdError::NoModule(name.clone()));
        };
        // depmod(8) writes what is to be loaded first last.
        for needed in needs.split_whitespace().rev().chain([path]) {
            if !order.contains(&needed) {
                order.push(needed);
            }
        }
    }
    Ok(order)
}

/// The kernel treats `-` and `_` in module names as the same.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

fn archive(directories: &[&str], files: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut archive = Vec::new();
    for directory in directories {
        Builder::new(directory)
            .mode(0o755)
            .set_mode_file_type(ModeFileType::Directory)
            .write(&mut archive, 0)
            .finish()?;
    }
    for (name, contents) in files {
        let size = u32::try_from(contents.len()).map_err(io::Error::other)?;
        let mut entry =
            Builder::new(name).mode(0o755).set_mode_file_type(ModeFileType::Regular).write(&mut archive, size);
        entry.write_all(contents)?;
        entry.finish()?;
    }
    trailer(archive)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rstest::rstest;

    use super::*;

    const DEP: &str = "kernel/drivers/block/virtio_blk.ko:\n\
        kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko\n\
        kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko\n\
        kernel/net/core/failover.ko:\nkernel/arch/crc32c-intel.ko:\n";
    const BUILTIN: &str = "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_pci.ko\n";

    #[rstest]
    #[case::alone(&["virtio_blk"], &["kernel/drivers/block/virtio_blk.ko"])]
    #[case::builtin(&["ext4", "virtio-pci"], &[])]
    #[case::hyphens(&["crc32c_intel"], &["kernel/arch/crc32c-intel.ko"])]
    #[case::needed_first(&["virtio_net", "net_failover"],
        &["kernel/net/core/failover.ko", "kernel/drivers/net/net_failover.ko", "kernel/drivers/net/virtio_net.ko"])]
    fn loads_what_is_needed_first(#[case] modules: &[&str], #[case] expected: &[&str]) {
        let modules: Vec<String> = modules.iter().map(|name| name.replace('-', "_")).collect();
        assert_eq!(load_order(&modules, DEP, BUILTIN).unwrap(), expected);
    }

    #[test]
    fn a_module_that_is_nowhere_is_an_error() {
        let error = load_order(&["virtiofs".into()], DEP, BUILTIN).unwrap_err();
        assert!(matches!(error, InitrdError::NoModule(name) if name == "virtiofs"));
    }

    #[test]
    fn the_archive_is_aligned_cpio() {
        let files = [("init".to_owned(), b"#!x".to_vec()), ("bin/odd".to_owned(), vec![7; 5])];
        let archive = archive(&["bin"], &files).unwrap();
        assert_eq!(archive.len() % 4, 0);
        let mut rest: &[u8] = &archive;
        let mut found = Vec::new();
        loop {
            let mut reader = cpio::NewcReader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut contents = Vec::new();
            reader.read_to_end(&mut contents).unwrap();
            found.push((reader.entry().name().to_owned(), reader.entry().mode(), contents));
            rest = reader.finish().unwrap();
        }
        assert_eq!(
            found,
            [
                ("bin".to_owned(), 0o040_755, vec![]),
                ("init".to_owned(), 0o100_755, b"#!x".to_vec()),
                ("bin/odd".to_owned(), 0o100_755, vec![7; 5])
            ]
        );
    }

    #[test]
    fn a_tree_has_exactly_one_kernel() {
        let root = tempfile::tempdir().unwrap();
        let modules = root.path().join("usr/lib/modules");
        fs::create_dir_all(&modules).unwrap();
        assert!(matches!(module_directory(root.path()), Err(InitrdError::Kernels { count: 0, .. })));
        fs::create_dir(modules.join("6.12-cloud")).unwrap();
        assert_eq!(module_directory(root.path()).unwrap(), modules.join("6.12-cloud"));
        fs::create_dir(modules.join("6.13-cloud")).unwrap();
        assert!(matches!(module_directory(root.path()), Err(InitrdError::Kernels { count: 2, .. })));
    }
}
