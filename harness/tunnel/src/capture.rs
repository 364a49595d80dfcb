//! Every packet on this end of the guest's card, as a stream in the format of pcap-savefile(5).

use std::{
    io::{self, Read as _},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Bytes kept of a packet at most: its headers, and the name that a DNS question asks for.
const KEPT: usize = 256;
/// `ETH_P_ALL` of linux/if_ether.h.
const EVERY_PROTOCOL: u16 = 3;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;

/// A packet socket that has been open since it was made.
pub(crate) struct Capture(Socket);

impl Capture {
    /// Begins to capture on every card of this network namespace, also on those to come.
    pub(crate) fn open() -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(EVERY_PROTOCOL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        // A clone of a repository comes in bursts.
        socket.set_recv_buffer_size(16 << 20)?;
        Ok(Self(socket))
    }

    /// The file's header, then each packet.
    pub(crate) fn packets(self) -> UnboundedReceiver<Vec<u8>> {
        let (sender, receiver) = unbounded_channel();
        thread::spawn(move || capture(self.0, &sender));
        receiver
    }
}

fn capture(mut socket: Socket, to: &UnboundedSender<Vec<u8>>) -> io::Result<()> {
    let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, KEPT as u32, ETHERNET];
    let mut next = header.map(u32::to_ne_bytes).concat();
    let mut packet = [0; KEPT];
    // The receiver is gone when the program ends.
    while to.send(next).is_ok() {
        let length = socket.read(&mut packet)?;
        next = record(without_tcp_payload(&packet[..length]));
    }
    Ok(())
}

/// What programs say to each other over TCP may be a credential, and is nobody's business.
fn without_tcp_payload(packet: &[u8]) -> &[u8] {
    const ETHERNET: usize = 14;
    const TCP: u8 = 6;
    // RFC 791 and RFC 9293: both headers count their length in words of four bytes.
    let of_tcp = || {
        let version = packet.get(ETHERNET)?;
        let at = match version >> 4 {
            4 if packet.get(ETHERNET + 9) == Some(&TCP) => ETHERNET + usize::from(version & 15) * 4,
            6 if packet.get(ETHERNET + 6) == Some(&TCP) => ETHERNET + 40,
            _ => return None,
        };
        let length = usize::from(packet.get(at + 12)? >> 4) * 4;
        packet.get(..at + length)
    };
    of_tcp().unwrap_or(packet)
}

/// One packet. How long it was on the wire is not known where it was cut, and nobody asks.
fn record(packet: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let length = packet.len() as u32;
    // The format's seconds have 32 bits.
    let fields = [now.as_secs() as u32, now.subsec_micros(), length, length];
    [fields.map(u32::to_ne_bytes).concat(), packet.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_over_tcp_is_kept() {
        let mut packet = vec![0; 14];
        packet.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6]);
        packet.extend([0; 10 + 12]);
        packet.extend([0x50, 2, 0, 0, 0, 0, 0, 0]);
        let headers = packet.clone();
        packet.extend(b"Authorization: Basic c2VjcmV0");
        assert_eq!(without_tcp_payload(&packet), headers);
        packet[23] = 17;
        assert_eq!(without_tcp_payload(&packet), packet, "a datagram says whom it asks for");
        assert_eq!(without_tcp_payload(&packet[..20]), &packet[..20]);
    }
}
