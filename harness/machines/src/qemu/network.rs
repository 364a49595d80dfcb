//! The guest's network: ports of the guest that the controller reaches, and programs of the
//! controller that the guest reaches. Nothing else passes.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::{
    net::{UnixListener, UnixStream},
    task::AbortHandle,
};

use super::{
    command_line::{NETDEV, Relay},
    process::{Files, Process},
    qmp::QmpError,
};
use crate::{
    helper,
    launch::Unprivileged,
    provider::{GuestService, ProvisionError},
};

/// Forwards a free port of the loopback interface to each of the guest's ports.
///
/// QEMU binds port 0 and is asked afterwards which port it got: choosing a free port first would
/// race with everybody else who does the same.
pub(super) async fn forward(process: &mut Process, ports: &[u16]) -> Result<BTreeMap<u16, SocketAddr>, ProvisionError> {
    let refused = |error: QmpError| ProvisionError::Start { reason: error.to_string() };
    for port in ports {
        let answer =
            process.qmp.monitor(&format!("hostfwd_add {NETDEV} tcp:127.0.0.1:0-:{port}")).await.map_err(refused)?;
        if !answer.trim().is_empty() {
            return Err(ProvisionError::Start { reason: format!("forwarding port {port}: {}", answer.trim()) });
        }
    }
    let table = process.qmp.monitor("info usernet").await.map_err(refused)?;
    let forwards = parse_forwards(&table);
    match ports.iter().find(|port| !forwards.contains_key(port)) {
        Some(port) => Err(ProvisionError::Start { reason: format!("QEMU does not list the forward of port {port}") }),
        None => Ok(forwards),
    }
}

/// The rows of `info usernet` that are forwards:
/// `TCP[HOST_FORWARD]  FD  SOURCE-ADDRESS  PORT  DESTINATION-ADDRESS  PORT  RECEIVE-QUEUE  SEND-QUEUE`.
fn parse_forwards(table: &str) -> BTreeMap<u16, SocketAddr> {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.first() != Some(&"TCP[HOST_FORWARD]") {
            return None;
        }
        let address: Ipv4Addr = fields.get(2)?.parse().ok()?;
        Some((fields.get(5)?.parse().ok()?, SocketAddr::from((address, fields.get(3)?.parse().ok()?))))
    };
    table.lines().filter_map(row).collect()
}

/// The guest services of a machine. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) relays: Vec<Relay>,
    accepting: Vec<AbortHandle>,
}

impl Services {
    /// Makes each service reachable for QEMU's user: on a socket in the lease's directory whose
    /// connections this process passes on, as the service's own socket may be in a place that
    /// the user cannot enter.
    pub(super) fn open(
        services: &[GuestService],
        files: &Files,
        user: Option<Unprivileged>,
    ) -> Result<Self, ProvisionError> {
        let mut opened = Self { relays: Vec::new(), accepting: Vec::new() };
        if services.is_empty() {
            return Ok(opened);
        }
        let program = relay_program(files, user).map_err(ProvisionError::io("preparing the relay"))?;
        for (index, service) in services.iter().enumerate() {
            let socket = files.service(index);
            let listener = UnixListener::bind(&socket)
                .and_then(|listener| user.map_or(Ok(()), |user| user.own(&socket)).map(|()| listener))
                .map_err(ProvisionError::io(format!("listening on {}", socket.display())))?;
            opened.accepting.push(tokio::spawn(pass_on(listener, service.socket.clone())).abort_handle());
            opened.relays.push(Relay {
                address: service.address,
                port: service.port,
                argv: vec![program.display().to_string(), helper::RELAY.to_owned(), socket.display().to_string()],
            });
        }
        Ok(opened)
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for task in &self.accepting {
            task.abort();
        }
    }
}

async fn pass_on(listener: UnixListener, service: PathBuf) {
    loop {
        let mut incoming = match listener.accept().await {
            Ok((incoming, _)) => incoming,
            Err(error) => {
                tracing::warn!(%error, "a guest service stopped");
                return;
            }
        };
        let service = service.clone();
        tokio::spawn(async move {
            let passed = async {
                let mut outgoing = UnixStream::connect(&service).await?;
                tokio::io::copy_bidirectional(&mut incoming, &mut outgoing).await
            };
            if let Err(error) = passed.await {
                tracing::debug!(%error, service = %service.display(), "a connection to a guest service ended");
            }
        });
    }
}

/// This program, where QEMU's user can run it: at its own path, or else as a copy.
fn relay_program(files: &Files, user: Option<Unprivileged>) -> io::Result<PathBuf> {
    let program = helper::program_path()?;
    if user.is_none_or(|_| is_public(&program, 0o005)) && program.exists() {
        return Ok(program);
    }
    let copy = files.helper();
    fs::copy(helper::program(), &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    Ok(copy)
}

/// Whether everybody has the permission bits `bits` on the file `path`, and can reach it.
pub(super) fn is_public(path: &Path, bits: u32) -> bool {
    let has = |path: &Path, bits: u32| fs::metadata(path).is_ok_and(|data| data.permissions().mode() & bits == bits);
    has(path, bits) && path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).all(|dir| has(dir, 0o001))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_from_qemus_table() {
        let table = "Hub 0 (net0):\r\n  \
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n  \
  TCP[ESTABLISHED]   21       127.0.0.1 40112       10.0.2.15    22     0     0\r\n  \
  TCP[HOST_FORWARD]  17       127.0.0.1 39871       10.0.2.15   443     0     0\r\n  \
  TCP[HOST_FORWARD]  16       127.0.0.1 46159       10.0.2.15    80     0     0\r\n";
        let expected = [(80, "127.0.0.1:46159"), (443, "127.0.0.1:39871")];
        assert_eq!(parse_forwards(table), expected.map(|(port, address)| (port, address.parse().unwrap())).into());
    }

    #[test]
    fn a_file_in_a_private_directory_is_not_public() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!is_public(&file, 0o005));
        assert!(is_public(Path::new("/bin/sh"), 0o005));
    }
}
