//! The network of a machine that has none of its own.
//!
//! A system container gets no network card: everything that it may reach, and every look at it from outside, goes
//! through one stream, the standard input and output of a program in the guest (`main.rs`). On that stream both ends
//! open as many streams as they like (yamux); the first line of each says what it is for.
//!
//! Inside, the guest sees what it would see on QEMU's restricted user-mode network: a card `eth0` with
//! [`GUEST_ADDRESS`], a gateway that leads nowhere, and the declared services at their addresses.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddrV4},
    str::FromStr,
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
pub use tokio_yamux::{Config, Control, Session, StreamHandle};

/// The guest's own address, as on QEMU's user-mode network.
pub const GUEST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The gateway's address; the tunnel looks at the guest from there.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// The name server's address, as on QEMU's user-mode network. Nobody serves there; but a card must have the address, as a
/// guest that gets no answer by ARP does not even send its question, which is to be captured.
pub const NAMESERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The guest's program connects to a service of the controller's, at this address.
    Service(SocketAddrV4),
    /// The controller connects to this TCP port of the guest.
    Forward(u16),
    /// The packets on the guest's card, from the first one on (pcap). The guest opens it when all is set up.
    Capture,
}

/// No purpose is as long as that.
const LONGEST: usize = 64;

impl Purpose {
    /// Says it to the other end, as the first line.
    ///
    /// # Errors
    /// When the stream is gone.
    pub async fn say(self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        stream.write_all(format!("{self}\n").as_bytes()).await?;
        stream.flush().await
    }

    /// Hears it from the other end; what follows it is left in the stream.
    ///
    /// # Errors
    /// When the stream is gone, or says something else.
    pub async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut line = Vec::new();
        while line.len() < LONGEST {
            match stream.read_u8().await? {
                b'\n' => return String::from_utf8_lossy(&line).parse().map_err(io::Error::other),
                byte => line.push(byte),
            }
        }
        Err(io::Error::other("a stream without a purpose"))
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(address) => write!(f, "service {address}"),
            Self::Forward(port) => write!(f, "forward {port}"),
            Self::Capture => f.write_str("capture"),
        }
    }
}

impl FromStr for Purpose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let purpose = match text.split_once(' ') {
            Some(("service", address)) => address.parse().ok().map(Self::Service),
            Some(("forward", port)) => port.parse().ok().map(Self::Forward),
            None if text == "capture" => Some(Self::Capture),
            _ => None,
        };
        purpose.ok_or_else(|| format!("{text:?} is no purpose of a stream"))
    }
}

/// How both ends set up a session: the stream below tells when the other end is gone, so nobody has to ask, and an
/// emulated guest may keep one waiting for long.
#[must_use]
pub fn config() -> Config {
    Config {
        enable_keepalive: false,
        connection_write_timeout: std::time::Duration::from_secs(600),
        max_stream_window_size: 4 << 20,
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_purpose_is_heard_as_it_was_said_and_no_byte_more() {
        let said = [Purpose::Service("10.0.2.100:80".parse().unwrap()), Purpose::Forward(443), Purpose::Capture];
        for purpose in said {
            let mut wire = Vec::new();
            purpose.say(&mut wire).await.unwrap();
            wire.extend(b"rest");
            let mut reader = wire.as_slice();
            assert_eq!(Purpose::hear(&mut reader).await.unwrap(), purpose);
            assert_eq!(reader, b"rest");
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        for line in ["", "service 10.0.2.100", "forward 70000", "capture it"] {
            assert!(Purpose::hear(&mut format!("{line}\n").as_bytes()).await.is_err(), "{line}");
        }
        assert!(Purpose::hear(&mut [b'x'; 100].as_slice()).await.is_err());
    }

    /// As git does it: a question, a long answer, and its end; again and again.
    #[tokio::test]
    async fn answers_and_their_ends_come_through() {
        use futures::StreamExt as _;
        let (here, there) = tokio::io::duplex(8 << 10);
        let mut session = Session::new_server(there, config());
        tokio::spawn(async move {
            while let Some(Ok(mut stream)) = session.next().await {
                tokio::spawn(async move {
                    let mut question = [0; 8];
                    stream.read_exact(&mut question).await.unwrap();
                    stream.write_all(&vec![7; 1 << 20]).await.unwrap();
                    stream.shutdown().await.unwrap();
                });
            }
        });
        let mut session = Session::new_client(here, config());
        let mut control = session.control();
        tokio::spawn(async move { while session.next().await.is_some() {} });
        for _ in 0..20 {
            let mut stream = control.open_stream().await.unwrap();
            stream.write_all(b"question").await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer.len(), 1 << 20);
        }
    }
}
