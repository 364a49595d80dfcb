//! What a server should refuse: versions of TLS that nobody may speak any more, and names that are not the host's.

use std::{io, net::SocketAddr, time::Duration};

use coldproof_evidence::served::{OldVersionProbe, Reception, UnknownNameProbe};
use rustls::{AlertDescription, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    ProbeName,
    client_hello::{OldVersion, client_hello},
    connect::{connect, connector, in_turn, late, words},
    names::unknown_name,
};

/// Content types of the record layer (RFC 5246, section 6.2.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// The handshake message by which a server goes on.
const SERVER_HELLO: u8 = 2;
/// An alert that ends the connection; a warning does not.
const FATAL: u8 = 2;
/// A record's limit with the room that old versions leave for padding and code.
const LONGEST_RECORD: usize = (1 << 14) + 2048;

/// Asks `peer` for every declared name with each old version.
pub async fn probe_old_versions(peer: SocketAddr, names: &[ProbeName], deadline: Duration) -> Vec<OldVersionProbe> {
    let declared = names.iter().filter(|name| !name.random);
    let pairs = declared.flat_map(|name| OldVersion::ALL.map(|version| (name, version)));
    let probes = pairs.map(|(name, version)| async move {
        OldVersionProbe {
            name: name.name.clone(),
            version: version.name().to_owned(),
            peer: peer.to_string(),
            reception: old_version(peer, &name.name, version, deadline).await,
        }
    });
    in_turn(probes).await
}

async fn old_version(peer: SocketAddr, name: &str, version: OldVersion, deadline: Duration) -> Reception {
    let exchange = async {
        let mut stream = match TcpStream::connect(peer).await {
            Ok(stream) => stream,
            // Nobody took the hello, so nobody refused it.
            Err(error) => return Reception::Unanswered(words(&error)),
        };
        let answer = async {
            stream.write_all(&client_hello(name, version, rand::random())).await?;
            answer(&mut stream).await
        };
        answer.await.unwrap_or_else(|error| ended(&error))
    };
    timeout(deadline, exchange).await.unwrap_or_else(|_| Reception::Unanswered(late(deadline)))
}

/// Reads records until the server goes on or refuses.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Reception> {
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header).await?;
        let [kind, 3, _, high, low] = header else { return Ok(no_tls(&header)) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > LONGEST_RECORD {
            return Ok(no_tls(&header));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        match (kind, body.as_slice()) {
            (ALERT, [FATAL, description, ..]) => {
                return Ok(Reception::Refused(format!("{:?}", AlertDescription::from(*description))));
            }
            // A warning, for instance that the name is not known, is followed by something.
            (ALERT, _) => {}
            (HANDSHAKE, [SERVER_HELLO, _, _, _, major, minor, ..]) => {
                return Ok(Reception::Accepted(version_name(*major, *minor)));
            }
            _ => return Ok(no_tls(&header)),
        }
    }
}

fn version_name(major: u8, minor: u8) -> String {
    match (major, minor) {
        (3, 0) => "SSLv3".to_owned(),
        (3, minor) => format!("TLSv1.{}", minor - 1),
        _ => format!("version {major}.{minor}"),
    }
}

fn no_tls(header: &[u8]) -> Reception {
    Reception::Unanswered(format!("the answer is no handshake of TLS: it begins with {}", hex::encode(header)))
}

/// A connection that was there, and broke.
fn ended(error: &io::Error) -> Reception {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Reception::Closed,
        _ => Reception::Unanswered(words(error)),
    }
}

/// Asks `peer`, with the versions of today, for a name that nobody can have.
pub async fn probe_unknown_name(peer: SocketAddr, deadline: Duration) -> UnknownNameProbe {
    let name = unknown_name();
    let reception = timeout(deadline, certificate_for(peer, &name)).await;
    UnknownNameProbe {
        peer: peer.to_string(),
        reception: reception.unwrap_or_else(|_| Reception::Unanswered(late(deadline))),
        name,
    }
}

async fn certificate_for(peer: SocketAddr, name: &str) -> Reception {
    let made = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string());
    let made = made.and_then(|name| Ok((name, connector(&[]).map_err(|error| error.to_string())?)));
    let (name, (witness, connector)) = match made {
        Ok(made) => made,
        Err(cause) => return Reception::Unanswered(cause),
    };
    let handshake = connect(connector, peer, name).await;
    // It counts what was shown, whether or not the handshake then came to its end.
    if let Some(leaf) = witness.chain().first() {
        return Reception::Accepted(hex::encode(leaf));
    }
    match handshake {
        Ok(_) => Reception::Unanswered("the handshake ended without a certificate".to_owned()),
        Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => Reception::Refused(format!("{alert:?}")),
            _ => ended(&error),
        },
    }
}
