//! A Docker engine for tests.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixListener,
    path::PathBuf,
    thread,
};

use tempfile::TempDir;

/// One that listens until the test ends.
pub(super) struct FakeEngine {
    pub(super) socket: PathBuf,
    _directory: TempDir,
}

impl FakeEngine {
    /// Starts one that gives each of the answers once, in this order: what must be asked for, the status and the body.
    pub(super) fn start(answers: &[(&'static str, u16, String)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let answers = answers.to_vec();
        thread::spawn(move || {
            for (path, status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
                let asked = request.next().unwrap().unwrap();
                let right = asked == format!("GET {path} HTTP/1.0");
                assert!(request.any(|line| line.unwrap().is_empty()));
                let status = if right { status } else { 400 };
                let answer = format!("HTTP/1.0 {status} Whatever\r\nContent-Type: application/json\r\n\r\n{body}\n");
                // In small pieces, so that the answer arrives torn.
                answer.as_bytes().chunks(7).for_each(|piece| stream.write_all(piece).unwrap());
            }
        });
        Self { socket, _directory: directory }
    }
}
