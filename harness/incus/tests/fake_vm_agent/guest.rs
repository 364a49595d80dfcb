//! The inside of the fake virtual machine: namespaces of this computer, where commands really run.

use std::{fs, process::Stdio};

use anyhow::Context as _;
use rustix::process::geteuid;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// The first process. There is no systemd, so programs of its own answer what is asked of that.
const INIT: &str = r#"
mount -t tmpfs tmpfs /run && mkdir /run/bin && mkfifo /run/off || exit
printf '#!/bin/sh\ncase $* in *poweroff*) echo >/run/off ;; esac\n' >/run/bin/systemctl
for program in busctl networkctl; do printf '#!/bin/sh\n' >/run/bin/$program; done
chmod 0755 /run/bin/*
echo ready
read -r _ </run/off
"#;

/// A guest that runs until it powers itself off or is killed.
pub(crate) struct Guest {
    unshare: Child,
    init: String,
}

impl Guest {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut unshare = Command::new("unshare")
            .args(user(&["--user", "--map-root-user"]))
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c", INIT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut said = String::new();
        BufReader::new(unshare.stdout.take().context("a pipe")?).read_line(&mut said).await?;
        anyhow::ensure!(said == "ready\n", "the guest did not start");
        let outer = unshare.id().context("it runs")?;
        let init = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))?.trim().to_owned();
        Ok(Self { unshare, init })
    }

    /// A command of root's in there.
    pub(crate) fn command(&self, argv: &[String], path: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(user(&["--user", "--preserve-credentials"]));
        command.args(["--mount", "--net", "--pid", "--target", &self.init, "--"]).args(argv);
        command.env_clear().env("PATH", format!("/run/bin:{path}")).env("HOME", "/root").current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub(crate) fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(self.unshare.try_wait()?.is_some())
    }

    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        self.unshare.wait().await?;
        Ok(())
    }

    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.unshare.kill().await?)
    }
}

/// What only those need who are not root.
fn user<'a>(arguments: &'a [&'a str]) -> &'a [&'a str] {
    if geteuid().is_root() { &[] } else { arguments }
}
