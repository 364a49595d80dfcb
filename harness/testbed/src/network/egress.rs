//! What the guest tried to reach, from the packets on its network card and the requests to the proxy.
//!
//! The guest is on QEMU's user-mode network. What it sends to an address that nobody declared goes nowhere, but it is
//! on the card, and so it is known.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use coldproof_evidence::served::{EgressAttempt, EgressObservation};
use pcap_parser::{LegacyPcapReader, Linktype, PcapBlockOwned, PcapError, traits::PcapReaderIterator};

use super::{
    connect_proxy::ConnectRequest,
    packet::{Attempt, Flows, Protocol},
};

/// Bytes read at a time; more than the largest packet.
const BUFFER: usize = 256 * 1024;
/// Where the user-mode network has its DHCP server.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// A destination that the harness itself gave to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredDestination {
    /// The TCP address in the guest's network.
    pub address: SocketAddr,
    /// What it is: `git`, `proxy`.
    pub name: String,
}

/// Reads `captures`, one for each time that a machine was started, and joins them with the proxy's record.
///
/// What cannot be read is no error: it makes the observation incomplete.
#[must_use]
pub fn observe<'p>(
    captures: impl IntoIterator<Item = &'p Path>,
    declared: &[DeclaredDestination],
    requests: &[ConnectRequest],
) -> EgressObservation {
    let mut egress = Egress::default();
    let mut captured = false;
    for path in captures {
        captured = true;
        let read = File::open(path).map_err(|error| error.to_string()).and_then(|file| egress.read(file));
        if let Err(reason) = read {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            egress.problems.push(format!("{name}: {reason}"));
        }
    }
    if !captured {
        egress.problems.push("no packets were captured".to_owned());
    }
    egress.observation(declared, requests)
}

#[derive(Default)]
struct Egress {
    packets: u64,
    attempts: BTreeMap<Attempt, u64>,
    problems: Vec<String>,
}

impl Egress {
    /// Reads one capture: the pcap format of libpcap's pcap-savefile(5), as QEMU's filter-dump writes it.
    fn read(&mut self, capture: impl Read) -> Result<(), String> {
        let mut flows = Flows::default();
        let mut reader = LegacyPcapReader::new(BUFFER, capture).map_err(|_| "it is no packet capture".to_owned())?;
        loop {
            let offset = match reader.next() {
                Ok((offset, PcapBlockOwned::LegacyHeader(header))) if header.network == Linktype::ETHERNET => offset,
                Ok((_, PcapBlockOwned::LegacyHeader(header))) => {
                    return Err(format!("its link type is {}, not Ethernet", header.network.0));
                }
                Ok((offset, PcapBlockOwned::Legacy(packet))) => {
                    self.packets += 1;
                    if let Some(attempt) = flows.attempt(packet.data) {
                        *self.attempts.entry(attempt).or_default() += 1;
                    }
                    offset
                }
                Ok((_, PcapBlockOwned::NG(_))) => return Err("it is a pcapng file".to_owned()),
                Err(PcapError::Eof) => return Ok(()),
                Err(PcapError::Incomplete(_)) => {
                    reader.refill().map_err(|_| "it cannot be read".to_owned())?;
                    continue;
                }
                Err(PcapError::UnexpectedEof) => return Err("it ends within a packet".to_owned()),
                Err(_) => return Err(format!("it is damaged after {} packets", self.packets)),
            };
            reader.consume(offset);
        }
    }

    fn observation(self, declared: &[DeclaredDestination], requests: &[ConnectRequest]) -> EgressObservation {
        let mut attempts: Vec<_> = self
            .attempts
            .into_iter()
            .map(|(attempt, count)| {
                let declared_as = declared_as(&attempt, declared);
                EgressAttempt {
                    protocol: attempt.protocol.to_string(),
                    // The network lets through what is declared and nothing else.
                    allowed: !declared_as.is_empty(),
                    destination: attempt.destination,
                    count,
                    declared_as,
                }
            })
            .collect();
        let mut connects: BTreeMap<(&str, bool), u64> = BTreeMap::new();
        for request in requests {
            *connects.entry((&request.destination, request.allowed)).or_default() += 1;
        }
        attempts.extend(connects.into_iter().map(|((destination, allowed), count)| EgressAttempt {
            protocol: "connect".to_owned(),
            destination: destination.to_owned(),
            count,
            declared_as: String::new(),
            allowed,
        }));
        let incomplete = (!self.problems.is_empty()).then(|| self.problems.join("; "));
        EgressObservation { packets: self.packets, attempts, incomplete }
    }
}

fn declared_as(attempt: &Attempt, declared: &[DeclaredDestination]) -> String {
    let destination = attempt.destination.as_str();
    match attempt.protocol {
        Protocol::Tcp => {
            let own = declared.iter().find(|own| own.address.to_string() == destination);
            own.map(|own| own.name.clone()).unwrap_or_default()
        }
        // DHCP (RFC 2131) and DHCPv6 (RFC 8415) to whoever serves them on the link.
        Protocol::Udp => {
            let servers = ["255.255.255.255:67".to_owned(), format!("{GATEWAY}:67"), "[ff02::1:2]:547".to_owned()];
            if servers.iter().any(|server| server == destination) { "dhcp".to_owned() } else { String::new() }
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use etherparse::PacketBuilder;
    use rstest::rstest;

    use super::*;

    const GUEST: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const SLIRP: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];

    fn tcp_syn(to: [u8; 4], port: u16) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(GUEST, SLIRP).ipv4([10, 0, 2, 15], to, 64);
        let mut frame = Vec::new();
        builder.tcp(40000, port, 0, 1000).syn().write(&mut frame, b"").unwrap();
        frame
    }

    fn dhcp_discover() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(GUEST, [0xff; 6]).ipv4([0; 4], [255; 4], 64).udp(68, 67);
        let mut frame = Vec::new();
        builder.write(&mut frame, &[0; 300]).unwrap();
        frame
    }

    /// pcap-savefile(5): a header, and for each packet times, the length kept and the length on the wire.
    fn pcap(link_type: u32, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 256, link_type] {
            file.extend_from_slice(&u32::to_ne_bytes(word));
        }
        for frame in frames {
            let kept = &frame[..frame.len().min(256)];
            for word in [1, 2, kept.len(), frame.len()] {
                file.extend_from_slice(&u32::try_from(word).unwrap().to_ne_bytes());
            }
            file.extend_from_slice(kept);
        }
        file
    }

    fn observed(capture: &[u8], requests: &[ConnectRequest]) -> EgressObservation {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("capture.pcap");
        fs::write(&path, capture).unwrap();
        let git = DeclaredDestination { address: "10.0.2.100:80".parse().unwrap(), name: "git".to_owned() };
        observe([path.as_path()], &[git], requests)
    }

    #[test]
    fn attempts_are_counted_by_destination_and_the_harness_own_are_named() {
        let git = || tcp_syn([10, 0, 2, 100], 80);
        let frames = [git(), git(), tcp_syn([10, 0, 2, 100], 81), dhcp_discover(), tcp_syn([192, 0, 2, 1], 443)];
        let request =
            |destination: &str, allowed| ConnectRequest { destination: destination.to_owned(), allowed, status: 0 };
        let requests = [request("b:443", false), request("a:443", true), request("a:443", true)];
        let observed = observed(&pcap(1, &frames), &requests);
        let attempts: Vec<_> = observed
            .attempts
            .iter()
            .map(|a| (a.protocol.as_str(), a.destination.as_str(), a.count, a.declared_as.as_str(), a.allowed))
            .collect();
        let expected = [
            ("tcp", "10.0.2.100:80", 2, "git", true),
            ("tcp", "10.0.2.100:81", 1, "", false),
            ("tcp", "192.0.2.1:443", 1, "", false),
            ("udp", "255.255.255.255:67", 1, "dhcp", true),
            ("connect", "a:443", 2, "", true),
            ("connect", "b:443", 1, "", false),
        ];
        assert_eq!(attempts, expected);
        assert_eq!((observed.packets, observed.incomplete), (5, None));
    }

    #[test]
    fn a_long_capture_is_read_to_its_end() {
        let frames: Vec<_> = (0..20_000).map(|port| tcp_syn([192, 0, 2, 1], port)).collect();
        let observed = observed(&pcap(1, &frames), &[]);
        assert_eq!((observed.packets, observed.attempts.len(), observed.incomplete), (20_000, 20_000, None));
    }

    #[rstest]
    #[case::empty(Vec::new(), "it is no packet capture")]
    #[case::no_capture(b"this is no capture at all, it is text".to_vec(), "it is no packet capture")]
    #[case::another_link(pcap(101, &[]), "its link type is 101, not Ethernet")]
    #[case::cut(pcap(1, &[dhcp_discover()])[..100].to_vec(), "it ends within a packet")]
    #[case::damaged([pcap(1, &[dhcp_discover()]), vec![0xff; 400_000]].concat(), "it is damaged after 1 packets")]
    fn what_cannot_be_read_is_incomplete(#[case] capture: Vec<u8>, #[case] reason: &str) {
        assert_eq!(observed(&capture, &[]).incomplete.unwrap(), format!("capture.pcap: {reason}"));
    }

    #[test]
    fn no_capture_is_incomplete() {
        assert_eq!(observe([], &[], &[]).incomplete.unwrap(), "no packets were captured");
        assert!(observe([Path::new("/nonexistent")], &[], &[]).incomplete.is_some());
    }

    proptest::proptest! {
        #[test]
        fn no_capture_upsets_it(bytes: Vec<u8>, at in 0_usize..400, value: u8) {
            let _ = Egress::default().read(&bytes[..]);
            let mut damaged = pcap(1, &[dhcp_discover(), tcp_syn([192, 0, 2, 1], 443)]);
            if let Some(byte) = damaged.get_mut(at) {
                *byte = value;
            }
            let _ = Egress::default().read(&damaged[..]);
        }
    }
}
