//! Sockets on which somebody outside could reach the guest.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use coldproof_evidence::guest::Listener;

/// TCP_LISTEN of the kernel's `net/tcp_states.h`.
const TCP_LISTEN: &str = "0A";
/// What the kernel shows for a UDP socket that is connected to nobody (TCP_CLOSE).
const UDP_UNCONNECTED: &str = "07";

/// One line of `/proc/net/tcp` and its like.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    port: u16,
    inode: u64,
}

/// Every listening TCP socket and every unconnected UDP socket that is not bound to the loopback.
pub(crate) fn observe() -> Vec<Listener> {
    let tables = [("tcp", TCP_LISTEN), ("tcp6", TCP_LISTEN), ("udp", UDP_UNCONNECTED), ("udp6", UDP_UNCONNECTED)];
    let sockets: Vec<_> = tables
        .into_iter()
        .flat_map(|(table, state)| {
            let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
            parse(&text, state).into_iter().map(move |socket| (table.trim_end_matches('6'), socket))
        })
        .filter(|(_, socket)| !is_loopback(socket.address))
        .collect();
    let owners = owners(sockets.iter().map(|(_, socket)| socket.inode).collect());
    let listener = |(protocol, socket): (&str, Socket)| Listener {
        protocol: protocol.to_owned(),
        address: socket.address.to_string(),
        port: socket.port,
        process: owners.get(&socket.inode).cloned().unwrap_or_default(),
    };
    sockets.into_iter().map(listener).collect()
}

/// The sockets in one state, of a table as proc_pid_net(5) has it.
fn parse(text: &str, state: &str) -> Vec<Socket> {
    let socket = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        if *fields.get(3)? != state {
            return None;
        }
        let (address, port) = fields[1].split_once(':')?;
        Some(Socket {
            address: parse_address(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// Addresses are shown as 32-bit words in the machine's own order, here little-endian.
fn parse_address(digits: &str) -> Option<IpAddr> {
    let mut bytes = hex::decode(digits).ok()?;
    bytes.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Names of the processes that hold the sockets with these inodes open.
fn owners(mut wanted: BTreeSet<u64>) -> HashMap<u64, String> {
    let mut owners = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok()) {
        if wanted.is_empty() {
            break;
        }
        // A process may end while it is looked at; then it holds nothing.
        for descriptor in fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else { continue };
            let inode = target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| wanted.remove(inode)) {
                let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                owners.insert(inode, name.trim().to_owned());
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0F02000A:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 0000000000000000 100 0 0 10 0
   1: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1235 1 0000000000000000 100 0 0 10 0
   2: 0F02000A:A000 0202000A:0050 01 00000000:00000000 00:00000000 00000000     0        0 1236 1 0000000000000000 100 0 0 10 0
";

    #[test]
    fn only_sockets_in_the_state_asked_for_are_read() {
        let sockets = parse(TCP, TCP_LISTEN);
        let expected = Socket { address: Ipv4Addr::new(10, 0, 2, 15).into(), port: 443, inode: 1234 };
        assert_eq!(sockets[0], expected);
        assert!(sockets.len() == 2 && is_loopback(sockets[1].address));
    }

    #[rstest]
    #[case("00000000000000000000000000000000", "::", false)]
    #[case("00000000000000000000000001000000", "::1", true)]
    #[case("0000000000000000FFFF00000100007F", "::ffff:127.0.0.1", true)]
    #[case("B80D0120000000000000000001000000", "2001:db8::1", false)]
    fn an_ipv6_address_is_read(#[case] digits: &str, #[case] text: &str, #[case] loopback: bool) {
        let address = parse_address(digits).unwrap();
        assert_eq!((address.to_string().as_str(), is_loopback(address)), (text, loopback));
    }

    #[test]
    fn a_socket_of_ours_is_found_with_our_name() {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = observe().into_iter().find(|l| l.protocol == "udp" && l.port == port).unwrap();
        assert_eq!(found.address, "0.0.0.0");
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(found.process, name.trim());
    }
}
