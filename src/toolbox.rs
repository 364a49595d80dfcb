//! Installing what a run needs on a Debian machine.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use coldproof_machines::{image, paths::Paths};
use coldproof_testbed::tools;

use crate::output::say;

/// Forks of a running machine need `rom=off` of this QEMU or a later one.
const QEMU_AT_LEAST: (u32, u32) = (8, 2);
const BACKPORTS: &str = "/etc/apt/sources.list.d/coldproof-backports.sources";

/// What a run needs and this machine lacks.
pub(crate) struct Wanting {
    /// Commands, each with the Debian package that has it.
    pub(crate) tools: Vec<image::Tool>,
    /// Whether QEMU is missing or too old to fork machines.
    pub(crate) qemu: bool,
    /// Whether sops is missing.
    pub(crate) sops: bool,
}

impl Wanting {
    pub(crate) fn look() -> Self {
        Self {
            tools: tools::debian_tools().filter(|tool| tools::find(tool.command).is_none()).collect(),
            qemu: qemu_version().is_none_or(|version| version < QEMU_AT_LEAST),
            sops: tools::sops().is_err(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tools.is_empty() && !self.qemu && !self.sops
    }

    /// A line for a person for each thing.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |tool: &image::Tool| format!("{} (Debian package {})", tool.command, tool.debian_package);
        let mut lines: Vec<String> = self.tools.iter().map(line).collect();
        if self.qemu {
            lines.push(format!(
                "QEMU {}.{} or later (Debian packages, from backports on Debian 12)",
                QEMU_AT_LEAST.0, QEMU_AT_LEAST.1
            ));
        }
        if self.sops {
            lines.push("sops (a static binary from the Python package index)".to_owned());
        }
        lines
    }
}

/// Installs what is missing and says what it installs.
pub(crate) fn install() -> Result<()> {
    let wanting = Wanting::look();
    if wanting.is_empty() {
        return Ok(());
    }
    say("installing what is missing:");
    for line in wanting.lines() {
        say(format_args!("  {line}"));
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "installing packages needs root; run `sudo coldproof doctor --fix` once"
    );
    let mut packages: Vec<&str> = wanting.tools.iter().map(|tool| tool.debian_package).collect();
    if wanting.qemu {
        packages.extend(["qemu-system-x86", "qemu-utils"]);
    }
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        apt_install(&packages, wanting.qemu)?;
    }
    if wanting.sops {
        install_sops()?;
    }
    let left = Wanting::look();
    ensure!(left.is_empty(), "still missing after the installation: {}", left.lines().join("; "));
    Ok(())
}

fn apt_install(packages: &[&str], want_backports: bool) -> Result<()> {
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    if want_backports && os_release("VERSION_CODENAME").as_deref() == Some("bookworm") {
        enable_backports()?;
        arguments.extend(["-t", "bookworm-backports"]);
    }
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(arguments).args(packages))
}

/// Debian 12's own QEMU is too old; its backports, on the mirror that the machine already uses, have a newer one.
fn enable_backports() -> Result<()> {
    if Path::new(BACKPORTS).exists() {
        return Ok(());
    }
    let mirror = image::mirror().context("finding the machine's own Debian mirror")?;
    let text = format!(
        "# Written by coldproof, for QEMU {}.{} or later\nTypes: deb\nURIs: {}\nSuites: bookworm-backports\nComponents: main\nSigned-By: {}\n",
        QEMU_AT_LEAST.0,
        QEMU_AT_LEAST.1,
        mirror.uri,
        mirror.keyring.display()
    );
    fs::write(BACKPORTS, text).with_context(|| format!("writing {BACKPORTS}"))
}

/// The same sops that the image has, so that controller and guest agree.
fn install_sops() -> Result<()> {
    let tools = Paths::from_env().cache.join("tools");
    image::fetch_binary(&tools, &coldproof_reference::image::sops(), &|line| say(format_args!("  {line}")))?;
    Ok(())
}

fn qemu_version() -> Option<(u32, u32)> {
    let output = Command::new("qemu-system-x86_64").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_whitespace().nth(3)?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn os_release(key: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(line.trim_matches('"').to_owned())
}

/// Runs a command whose output matters only when it fails; standard output is for results alone.
fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {program}"))?;
    if !output.status.success() {
        bail!("{program} failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
