//! One question to the Docker engine, over its unix socket.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// An answer takes milliseconds; this bounds an engine that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// No swarm has that much to say.
const LONGEST: u64 = 64 << 20;

/// Why an engine that is there could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error("{0}; is this root?")]
    Connect(io::Error),
    #[error("the connection was lost: {0}")]
    Lost(io::Error),
    #[error("the answer to {path} is not HTTP")]
    NotHttp { path: &'static str },
    #[error("{path} is answered with status {status}: {message}")]
    Status { path: &'static str, status: u16, message: String },
    #[error("the answer to {path} is not what an engine says: {source}")]
    Json { path: &'static str, source: serde_json::Error },
    #[error("it does not tell how many tasks of {0} run, as Docker does from 20.10 on")]
    NoCount(String),
    #[error("it ended while it was asked")]
    Gone,
}

/// An answer: its status and its body.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// The answer to `GET path`; none where nobody listens.
pub(super) fn get(socket: &Path, path: &'static str) -> Result<Option<Answer>, EngineError> {
    let mut stream = match UnixStream::connect(socket) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(EngineError::Connect(error)),
    };
    stream.set_read_timeout(Some(PATIENCE)).map_err(EngineError::Lost)?;
    // To a client of HTTP/1.0 a server sends no chunks, and closes the connection when it has said all.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n").as_bytes()).map_err(EngineError::Lost)?;
    let mut received = Vec::new();
    stream.take(LONGEST).read_to_end(&mut received).map_err(EngineError::Lost)?;
    parse(&received).map(Some).ok_or(EngineError::NotHttp { path })
}

fn parse(received: &[u8]) -> Option<Answer> {
    let end = memchr::memmem::find(received, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&received[..end]).ok()?;
    let (version, rest) = head.lines().next()?.split_once(' ')?;
    let status = rest.get(..3)?.parse().ok().filter(|_| version.starts_with("HTTP/1."))?;
    Some(Answer { status, body: received[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let answer = parse(b"HTTP/1.0 200 OK\r\nServer: Docker/26.1.5 (linux)\r\n\r\n[]\r\n\r\n").unwrap();
        assert_eq!((answer.status, &*answer.body), (200, &b"[]\r\n\r\n"[..]));
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_parser(bytes in "(HTTP/1.[01] )?[ -~\r\n]{0,80}") {
            let _ = parse(bytes.as_bytes());
        }
    }
}
