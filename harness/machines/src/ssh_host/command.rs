//! The command lines of `ssh`. What the user has configured holds, but for what would ask, trust, forward or write.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use super::{SshError, SshHost};
use crate::mark::Mark;

const PROGRAM: &str = "ssh";

/// The first value counts, and the command line comes first (ssh_config(5)).
const FORCED: [&str; 19] = [
    // Nobody is asked anything, and no password is ever sent.
    "BatchMode=yes",
    "PasswordAuthentication=no",
    "KbdInteractiveAuthentication=no",
    // Who is not known is not talked to, and nothing is learnt.
    "StrictHostKeyChecking=yes",
    "UpdateHostKeys=no",
    // The host gets nothing of this computer's.
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "Tunnel=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "ForkAfterAuthentication=no",
    "StdinNull=no",
    "ControlPersist=no",
    "LogLevel=ERROR",
    "ConnectTimeout=30",
    // A host that falls silent is lost after a minute.
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
];

/// The connection that the others share through `socket`; it runs `remote` for as long as it lasts.
pub(super) fn master(host: &SshHost, socket: &Path, mark: &Mark, remote: &str) -> Command {
    let mut ssh = of_the_user(host, mark);
    ssh.args(FORCED.iter().map(|option| format!("-o{option}"))).arg("-oControlMaster=yes");
    ssh.arg(format!("-oControlPath={}", socket.display()));
    ssh.args(["-T", "--", &host.destination, remote]);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    ssh
}

/// A session of the connection behind `socket`. Without that there is no way: a new connection is never made.
pub(super) fn session(socket: &Path, mark: &Mark, remote: &str) -> Command {
    let mut ssh = Command::new(PROGRAM);
    ssh.args(["-F", "/dev/null", "-T", "-oBatchMode=yes", "-oControlMaster=no", "-oProxyCommand=/bin/false"]);
    ssh.arg("-oLogLevel=ERROR").arg(format!("-oControlPath={}", socket.display())).args(["--", "original", remote]);
    mark.put_on(ssh.as_std_mut());
    ssh
}

/// The name or address that `ssh` would connect to.
pub(super) async fn host_name(host: &SshHost, mark: &Mark) -> Result<Option<String>, SshError> {
    let output = of_the_user(host, mark).args(["-G", "--", &host.destination]).stdin(Stdio::null()).output().await;
    let output = output.map_err(SshError::Program)?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(SshError::Refused { destination: host.destination.clone(), reason });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().find_map(|line| line.strip_prefix("hostname ")).map(str::to_owned))
}

fn of_the_user(host: &SshHost, mark: &Mark) -> Command {
    let mut ssh = Command::new(PROGRAM);
    if let Some(config) = &host.config {
        ssh.arg("-F").arg(config);
    }
    mark.put_on(ssh.as_std_mut());
    ssh
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn host(config: &Path) -> SshHost {
        SshHost { destination: "cc-ci".into(), config: Some(config.to_owned()), address: None }
    }

    #[tokio::test]
    async fn the_address_is_the_one_that_ssh_connects_to() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        fs::write(&config, "Host cc-ci\n  HostName 192.0.2.7\n  ProxyJump gate\n").unwrap();
        let mut host = host(&config);
        assert_eq!(host.address(&Mark::default()).await.unwrap().to_string(), "192.0.2.7");
        host.address = Some([192, 0, 2, 8].into());
        assert_eq!(host.address(&Mark::default()).await.unwrap().to_string(), "192.0.2.8");
    }

    /// What a user may have switched on is off where it would ask, trust, forward or write.
    #[tokio::test]
    async fn a_users_configuration_does_not_soften_what_is_forced() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        let soft = "Host *\n  BatchMode no\n  StrictHostKeyChecking accept-new\n  ForwardAgent yes\n  UpdateHostKeys yes\n  \
                    PasswordAuthentication yes\n  ControlPersist yes\n  RemoteCommand reboot\n";
        fs::write(&config, soft).unwrap();
        let mut ssh = master(&host(&config), Path::new("/nonexistent/s"), &Mark::default(), "true");
        // `-G` after the options says what they come to, and connects to nobody.
        let words: Vec<_> = ssh.as_std_mut().get_args().map(ToOwned::to_owned).collect();
        let options = words.iter().take_while(|word| *word != "--");
        let output = Command::new(PROGRAM).args(options).args(["-G", "cc-ci"]).output().await.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        for line in [
            "batchmode yes",
            "stricthostkeychecking true",
            "forwardagent no",
            "updatehostkeys false",
            "passwordauthentication no",
            "controlpersist no",
            "controlmaster true",
        ] {
            assert!(said.lines().any(|found| found == line), "`{line}` is not in:\n{said}");
        }
        assert!(!said.contains("remotecommand reboot"), "{said}");
    }

    #[tokio::test]
    async fn without_the_connection_there_is_no_session() {
        let mut ssh = session(Path::new("/nonexistent/s"), &Mark::default(), "true");
        let output = ssh.stdin(Stdio::null()).output().await.unwrap();
        assert_eq!(output.status.code(), Some(255));
    }
}
