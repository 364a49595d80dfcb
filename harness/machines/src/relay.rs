//! The relay: joins standard input and output to a Unix socket. QEMU starts one for every
//! connection that the guest makes to a guest service.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    process::ExitCode,
    thread,
};

/// The relay's own main: `SOCKET`.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(path) = args.next() else { return ExitCode::from(2) };
    match UnixStream::connect(path).and_then(relay) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn relay(socket: UnixStream) -> io::Result<()> {
    let mut outgoing = socket.try_clone()?;
    // The guest may close its half while the answer is still coming, so only a half is closed.
    // A thread that still waits for the guest ends with the process.
    thread::spawn(move || {
        let copied = copy(&mut io::stdin(), &mut outgoing);
        drop(outgoing.shutdown(Shutdown::Write));
        copied
    });
    copy(&mut &socket, &mut io::stdout())
}

/// Passes on what there is at once: standard output is buffered by lines otherwise.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => {
                to.write_all(&buffer[..count])?;
                to.flush()?;
            }
        }
    }
}
