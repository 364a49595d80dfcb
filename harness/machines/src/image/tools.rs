//! Programs on the controller that building an image needs.

use std::fmt;

use crate::program::find;

/// A program and the Debian package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The command.
    pub command: &'static str,
    /// The Debian package.
    pub debian_package: &'static str,
}

/// Everything that building an image runs.
const TOOLS: &[Tool] = &[
    Tool { command: "chroot", debian_package: "coreutils" },
    Tool { command: "mkfs.ext4", debian_package: "e2fsprogs" },
    Tool { command: "mmdebstrap", debian_package: "mmdebstrap" },
    Tool { command: "pip3", debian_package: "python3-pip" },
    Tool { command: "python3", debian_package: "python3" },
    Tool { command: "tar", debian_package: "tar" },
    Tool { command: "unshare", debian_package: "util-linux" },
    Tool { command: "xz", debian_package: "xz-utils" },
    Tool { command: "zstd", debian_package: "zstd" },
];

/// What building an image runs besides, where this process is not root.
const UNPRIVILEGED: &[Tool] = &[Tool { command: "newuidmap", debian_package: "uidmap" }];

/// Programs that are not installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct MissingTools(pub Vec<Tool>);

impl fmt::Display for MissingTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commands: Vec<_> = self.0.iter().map(|tool| tool.command).collect();
        let packages: Vec<_> = self.0.iter().map(|tool| tool.debian_package).collect();
        write!(
            f,
            "building the blank image needs {}, not installed here; run `coldproof doctor --fix` or `apt-get install {}`",
            commands.join(", "),
            packages.join(" ")
        )
    }
}

/// The programs that this process needs to build an image.
pub fn tools() -> impl Iterator<Item = Tool> {
    let unprivileged = if rustix::process::geteuid().is_root() { &[] } else { UNPRIVILEGED };
    TOOLS.iter().chain(unprivileged).copied()
}

/// Those of [`tools`] that are not installed.
pub(super) fn missing_tools() -> Vec<Tool> {
    tools().filter(|tool| find(tool.command).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tools_name_their_remedy() {
        let missing = MissingTools(vec![TOOLS[1], TOOLS[7]]);
        insta::assert_snapshot!(missing, @"building the blank image needs mkfs.ext4, xz, not installed here; run `coldproof doctor --fix` or `apt-get install e2fsprogs xz-utils`");
    }
}
