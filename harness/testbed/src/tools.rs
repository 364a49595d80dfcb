//! The programs on the controller that a run needs, and where they are.

use std::path::PathBuf;

use coldproof_machines::{
    image::{self, Tool},
    paths::Paths,
    program,
};

/// What a run itself starts, beyond what building the image needs.
const OWN: &[Tool] = &[
    Tool { command: "git", debian_package: "git" },
    Tool { command: "qemu-img", debian_package: "qemu-utils" },
    Tool { command: "qemu-system-x86_64", debian_package: "qemu-system-x86" },
];

/// Every program that Debian packages have and a run on QEMU needs.
pub fn debian_tools() -> impl Iterator<Item = Tool> {
    OWN.iter().copied().chain(image::tools())
}

/// sops, from PATH or from coldproof's own tools.
///
/// # Errors
/// When it is nowhere; the text says how to get it.
pub fn sops() -> Result<PathBuf, MissingTool> {
    find("sops").ok_or(MissingTool { command: "sops" })
}

/// Checks that a command is installed.
///
/// # Errors
/// When it is nowhere; the text says how to get it.
pub fn require(command: &'static str) -> Result<(), MissingTool> {
    find(command).map(drop).ok_or(MissingTool { command })
}

/// Where a command is: PATH, the system directories that an ordinary user's PATH lacks, coldproof's own tools.
#[must_use]
pub fn find(command: &str) -> Option<PathBuf> {
    program::find(command).or_else(|| program::find_in([Paths::from_env().cache.join("tools")], command))
}

/// A program that is needed is not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{command}` is not installed, or not in PATH; `coldproof doctor --fix` installs what a run needs")]
pub struct MissingTool {
    /// The command.
    pub command: &'static str,
}
