//! What one Ethernet frame says that the guest tried to reach.

use std::{
    collections::HashSet,
    fmt,
    net::{IpAddr, SocketAddr},
};

use etherparse::{LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice, TransportSlice, UdpSlice};

/// How something was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Dns,
    Icmp,
    /// Another protocol over IP, or a fragment.
    Ip,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Dns => "dns",
            Self::Icmp => "icmp",
            Self::Ip => "ip",
        })
    }
}

/// One thing that the guest tried to reach.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attempt {
    /// How.
    pub(crate) protocol: Protocol,
    /// `address:port`, an address, or the name asked for in DNS.
    pub(crate) destination: String,
}

impl Attempt {
    fn new(protocol: Protocol, destination: impl ToString) -> Self {
        Self { protocol, destination: destination.to_string() }
    }
}

/// The conversations of one capture: what the guest sends in one that came from outside is an answer, no attempt.
#[derive(Debug, Default)]
pub(crate) struct Flows(HashSet<Flow>);

/// The guest's TCP port and the other end.
type Flow = (u16, SocketAddr);

impl Flows {
    /// What the guest tries with this frame, which may be cut short; none for frames that come from outside, for answers
    /// and for what keeps a link running (ARP, neighbour discovery, router solicitation, multicast membership).
    pub(crate) fn attempt(&mut self, frame: &[u8]) -> Option<Attempt> {
        let packet = LaxSlicedPacket::from_ethernet(frame).ok()?;
        let from_outside = matches!(&packet.link, Some(LinkSlice::Ethernet2(link)) if is_slirp(link.source()));
        let net = packet.net.as_ref()?;
        let (source, destination) = match net {
            LaxNetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            LaxNetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            LaxNetSlice::Arp(_) => return None,
        };
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => self.tcp(tcp, from_outside, source, destination),
            _ if from_outside => None,
            Some(TransportSlice::Udp(udp)) => Some(of_udp(udp, destination)),
            Some(TransportSlice::Icmpv4(icmp)) => of_icmp(ICMP_V4_ANSWERS, icmp.type_u8(), destination),
            Some(TransportSlice::Icmpv6(icmp)) => of_icmp(ICMP_V6_ANSWERS, icmp.type_u8(), destination),
            Some(TransportSlice::Igmp(_)) => None,
            // Fragments, and headers that are cut short, are sent to somewhere all the same.
            None => {
                let protocol = net.ip_payload_ref()?.ip_number.0;
                Some(Attempt::new(Protocol::Ip, format!("{destination} protocol {protocol}")))
            }
        }
    }

    fn tcp(&mut self, tcp: &TcpSlice<'_>, from_outside: bool, source: IpAddr, destination: IpAddr) -> Option<Attempt> {
        let opens = tcp.syn() && !tcp.ack();
        if from_outside {
            if opens {
                self.0.insert((tcp.destination_port(), SocketAddr::new(source, tcp.source_port())));
            }
            return None;
        }
        let destination = SocketAddr::new(destination, tcp.destination_port());
        let unknown = self.0.insert((tcp.source_port(), destination));
        // A segment that belongs to no conversation is sent by somebody who makes packets by hand.
        (opens || unknown).then(|| Attempt::new(Protocol::Tcp, destination))
    }
}

/// libslirp gives its own hosts the addresses 52:55 and their IPv4 address, and 52:56:00:00:00:xx for IPv6; QEMU's
/// network cards have 52:54:00.
fn is_slirp(mac: [u8; 6]) -> bool {
    matches!(mac, [0x52, 0x55 | 0x56, ..])
}

/// ICMP types that answer: echo reply, destination unreachable, time exceeded, parameter problem (RFC 792).
const ICMP_V4_ANSWERS: &[u8] = &[0, 3, 11, 12];
/// ICMPv6 types that answer, errors and echo reply (RFC 4443), or keep the link running: multicast listener discovery
/// (RFC 2710, RFC 3810), router and neighbour discovery (RFC 4861).
const ICMP_V6_ANSWERS: &[u8] = &[1, 2, 3, 4, 129, 130, 131, 132, 133, 134, 135, 136, 137, 143];

fn of_icmp(answers: &[u8], kind: u8, destination: IpAddr) -> Option<Attempt> {
    (!answers.contains(&kind)).then(|| Attempt::new(Protocol::Icmp, destination))
}

fn of_udp(udp: &UdpSlice<'_>, destination: IpAddr) -> Attempt {
    let name = Some(udp.payload()).filter(|_| udp.destination_port() == 53).and_then(question);
    match name {
        Some(name) => Attempt::new(Protocol::Dns, name),
        None => Attempt::new(Protocol::Udp, SocketAddr::new(destination, udp.destination_port())),
    }
}

/// The name of the first question of a DNS message (RFC 1035, 4.1), in lower case; `.` is the root.
fn question(message: &[u8]) -> Option<String> {
    const HEADER: usize = 12;
    let questions = message.get(4..6)?;
    let mut rest = message.get(HEADER..).filter(|_| questions != [0, 0])?;
    let mut name = String::new();
    loop {
        let (&length, after) = rest.split_first()?;
        match length {
            0 if name.is_empty() => return Some(".".to_owned()),
            0 => return Some(name),
            // Longer lengths are pointers, which have nothing to point to in a first question.
            1..=63 => {
                let label = after.get(..length.into())?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&label.to_ascii_lowercase().escape_ascii().to_string());
                rest = &after[length.into()..];
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use rstest::rstest;

    use super::*;

    const GUEST: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const SLIRP: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];
    const GUEST_V4: [u8; 4] = [10, 0, 2, 15];
    const GATEWAY_V4: [u8; 4] = [10, 0, 2, 2];

    fn dns(name: &[u8]) -> Vec<u8> {
        [b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", name, b"\x00\x01\x00\x01"].concat()
    }

    fn udp(to: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(GUEST, SLIRP).ipv4(GUEST_V4, to, 64).udp(40000, port);
        builder.write(&mut frame, payload).unwrap();
        frame
    }

    fn icmp(kind: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2(GUEST, SLIRP).ipv4(GUEST_V4, [1, 1, 1, 1], 64);
        builder.icmpv4_raw(kind, 0, [0; 4]).write(&mut frame, b"x").unwrap();
        frame
    }

    fn icmp6(kind: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        let to = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
        let builder = PacketBuilder::ethernet2(GUEST, SLIRP).ipv6([1; 16], to, 64);
        builder.icmpv6_raw(kind, 0, [0; 4]).write(&mut frame, b"x").unwrap();
        frame
    }

    fn attempt(frame: &[u8]) -> Option<(Protocol, String)> {
        Flows::default().attempt(frame).map(|attempt| (attempt.protocol, attempt.destination))
    }

    #[rstest]
    #[case::datagram(udp([192, 0, 2, 1], 123, b"x"), Some((Protocol::Udp, "192.0.2.1:123")))]
    #[case::name(udp([10, 0, 2, 3], 53, &dns(b"\x03Git\x07example\x04test\x00")), Some((Protocol::Dns, "git.example.test")))]
    #[case::binary_name(udp([10, 0, 2, 3], 53, &dns(b"\x02\x00\n\x00")), Some((Protocol::Dns, "\\x00\\n")))]
    #[case::root(udp([10, 0, 2, 3], 53, &dns(b"\x00")), Some((Protocol::Dns, ".")))]
    #[case::no_dns(udp([8, 8, 8, 8], 53, b"tunnel"), Some((Protocol::Udp, "8.8.8.8:53")))]
    #[case::echo_request(icmp(8), Some((Protocol::Icmp, "1.1.1.1")))]
    #[case::echo_reply(icmp(0), None)]
    #[case::unreachable(icmp(3), None)]
    #[case::echo_request_v6(icmp6(128), Some((Protocol::Icmp, "2001:db8::1")))]
    #[case::router_solicitation(icmp6(133), None)]
    #[case::listener_report(icmp6(143), None)]
    #[case::no_frame(vec![0; 5], None)]
    fn a_frame_says_what_was_tried(#[case] frame: Vec<u8>, #[case] expected: Option<(Protocol, &str)>) {
        assert_eq!(attempt(&frame), expected.map(|(protocol, to)| (protocol, to.to_owned())));
    }

    #[test]
    fn a_fragment_and_an_unknown_protocol_are_sent_somewhere() {
        let mut fragment = udp([192, 0, 2, 1], 123, b"payload of some length");
        // Flags and fragment offset of the IPv4 header.
        fragment[14 + 6..14 + 8].copy_from_slice(&[0x00, 0x02]);
        assert_eq!(attempt(&fragment), Some((Protocol::Ip, "192.0.2.1 protocol 17".to_owned())));
        let mut gre = udp([192, 0, 2, 1], 123, b"payload");
        gre[14 + 9] = 47;
        assert_eq!(attempt(&gre), Some((Protocol::Ip, "192.0.2.1 protocol 47".to_owned())));
    }

    #[test]
    fn answers_to_connections_from_outside_are_no_attempts() {
        let tcp = |outside: bool, ports: (u16, u16), flags: &str| {
            let (macs, addresses) = if outside {
                ((SLIRP, GUEST), (GATEWAY_V4, GUEST_V4))
            } else {
                ((GUEST, SLIRP), (GUEST_V4, GATEWAY_V4))
            };
            let builder = PacketBuilder::ethernet2(macs.0, macs.1).ipv4(addresses.0, addresses.1, 64);
            let mut builder = builder.tcp(ports.0, ports.1, 0, 1000);
            builder = if flags.contains('s') { builder.syn() } else { builder };
            builder = if flags.contains('a') { builder.ack(1) } else { builder };
            let mut frame = Vec::new();
            builder.write(&mut frame, b"").unwrap();
            frame
        };
        let mut flows = Flows::default();
        let mut tried = |frame: Vec<u8>| flows.attempt(&frame).map(|attempt| attempt.destination);
        assert_eq!(tried(tcp(true, (50000, 443), "s")), None);
        assert_eq!(tried(tcp(false, (443, 50000), "sa")), None);
        assert_eq!(tried(tcp(false, (443, 50000), "a")), None);
        assert_eq!(tried(tcp(false, (40000, 22), "s")), Some("10.0.2.2:22".to_owned()));
        assert_eq!(tried(tcp(true, (22, 40000), "sa")), None);
        assert_eq!(tried(tcp(false, (40000, 22), "a")), None);
        assert_eq!(tried(tcp(false, (40000, 23), "a")), Some("10.0.2.2:23".to_owned()), "out of nowhere");
    }

    proptest::proptest! {
        #[test]
        fn no_frame_upsets_it(mut frame: Vec<u8>, kind in 0_usize..3, cut in 0_usize..100) {
            let _ = Flows::default().attempt(&frame);
            let mut starts = [icmp6(1), icmp(1), udp([1, 2, 3, 4], 53, &dns(b"\x01a\x00"))];
            starts[0].truncate(20);
            starts[1].truncate(14);
            frame.splice(0..0, starts[kind].iter().copied());
            frame.truncate(cut);
            let _ = Flows::default().attempt(&frame);
        }

        #[test]
        fn no_message_upsets_it(message: Vec<u8>) {
            let _ = question(&message);
        }
    }
}
