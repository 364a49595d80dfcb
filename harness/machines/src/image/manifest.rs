//! The list of what an image holds.

use std::{fs, path::Path};

use super::{ImageError, Recipe};

/// `package=version` of everything installed in the tree, in alphabetical order.
///
/// # Errors
/// When dpkg's database cannot be read.
pub(super) fn read(root: &Path, recipe: &Recipe) -> Result<Vec<String>, ImageError> {
    let path = root.join("var/lib/dpkg/status");
    let status = fs::read_to_string(&path).map_err(ImageError::io(&path))?;
    let mut manifest = installed(&status);
    manifest.extend(recipe.binaries.iter().map(|binary| format!("{}={}", binary.package, binary.version)));
    manifest.sort();
    Ok(manifest)
}

fn installed(status: &str) -> Vec<String> {
    status.split("\n\n").filter_map(package).collect()
}

fn package(stanza: &str) -> Option<String> {
    let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    (field("Status")? == "install ok installed").then_some(())?;
    Some(format!("{}={}", field("Package")?, field("Version")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_is_installed() {
        let status = "Package: nix-bin\nStatus: install ok installed\nDescription: x\n Version: 0\nVersion: 2.26.3+dfsg-1\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: age\nStatus: install ok installed\nVersion: 1.2.1-1\n";
        assert_eq!(installed(status), ["nix-bin=2.26.3+dfsg-1", "age=1.2.1-1"]);
    }
}
