//! A systemd for tests.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    thread,
};

use super::{Bus, BusError};

/// A connection to one that says `greeting`, then in each step waits for so many bytes of calls and gives the answer,
/// and in the end hangs up.
pub(crate) fn systemd(greeting: &'static str, steps: Vec<(usize, Vec<u8>)>) -> Result<Bus, BusError> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let mut received = Vec::new();
        let mut reader = BufReader::new(theirs.try_clone().unwrap());
        reader.read_until(b'\n', &mut received).unwrap();
        reader.read_until(b'\n', &mut received).unwrap();
        assert!(received.starts_with(b"\0AUTH EXTERNAL ") && received.ends_with(b"\r\nBEGIN\r\n"));
        theirs.write_all(greeting.as_bytes()).unwrap();
        for (bytes, answer) in steps {
            reader.read_exact(&mut vec![0; bytes]).unwrap();
            // In small pieces, so that messages arrive torn.
            answer.chunks(7).for_each(|piece| theirs.write_all(piece).unwrap());
        }
    });
    Bus::authenticate(ours)
}
