//! The command's output, in order of arrival, line by line.

use std::{
    fs::File,
    io::{self, PipeReader, Read as _, Write as _},
};

use rustix::io::ioctl_fionbio;

/// How much of a command's output goes into the result. `output.log` has all of it.
const LONGEST: usize = 8 << 20;

/// What `switch-to-configuration`'s activation script says when a part of it failed.
const SNIPPET_FAILED: (&str, &str) = ("Activation script snippet '", "' failed");

/// The lines that were received.
pub(super) struct Output {
    pipe: Option<PipeReader>,
    log: File,
    lines: Lines,
}

/// What is left when the command has ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) lines: Vec<String>,
    pub(super) failed_snippets: Vec<String>,
    partial: Vec<u8>,
    kept: usize,
    left_out: u64,
}

impl Output {
    pub(super) fn new(pipe: PipeReader, log: File) -> Self {
        Self { pipe: Some(pipe), log, lines: Lines::default() }
    }

    /// The pipe to wait on; none once it has ended.
    pub(super) const fn pipe(&self) -> Option<&PipeReader> {
        self.pipe.as_ref()
    }

    /// Reads once; to be called when something has arrived.
    pub(super) fn receive(&mut self) -> io::Result<()> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let mut chunk = [0; 64 << 10];
        match pipe.read(&mut chunk) {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                self.log.write_all(&chunk[..count])?;
                self.lines.push(&chunk[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes what the command wrote before it ended. A process that it left behind may hold the pipe open for ever,
    /// so the end of the pipe is not waited for.
    pub(super) fn finish(mut self) -> io::Result<Lines> {
        if let Some(pipe) = &self.pipe {
            ioctl_fionbio(pipe, true)?;
        }
        while self.pipe.is_some() {
            match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                other => other?,
            }
        }
        self.lines.finish();
        Ok(self.lines)
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        let mut pieces = bytes.split(|&byte| byte == b'\n');
        // What follows the last newline is the beginning of a line that is not there yet.
        let rest = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            self.partial.extend_from_slice(piece);
            self.end_line();
        }
        self.partial.extend_from_slice(rest);
    }

    fn end_line(&mut self) {
        let bytes = std::mem::take(&mut self.partial);
        let line = String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned();
        self.failed_snippets.extend(failed_snippet(&line));
        if self.kept + line.len() > LONGEST {
            self.left_out += 1;
        } else {
            self.kept += line.len();
            self.lines.push(line);
        }
    }

    fn finish(&mut self) {
        if !self.partial.is_empty() {
            self.end_line();
        }
        if self.left_out > 0 {
            self.lines.push(format!("({} more lines are in output.log in the guest)", self.left_out));
        }
    }
}

fn failed_snippet(line: &str) -> Option<String> {
    let (_, after) = line.split_once(SNIPPET_FAILED.0)?;
    let (name, _) = after.split_once(SNIPPET_FAILED.1)?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Lines {
        let mut lines = Lines::default();
        chunks.iter().for_each(|chunk| lines.push(chunk));
        lines.finish();
        lines
    }

    #[test]
    fn lines_come_out_however_they_arrive() {
        let lines =
            lines_of(&[b"buil", b"ding\r\n\nActivation script snippet 'setupSecrets' failed (1)\nla", b"st \xff"]);
        assert_eq!(
            lines.lines,
            ["building", "", "Activation script snippet 'setupSecrets' failed (1)", "last \u{fffd}"]
        );
        assert_eq!(lines.failed_snippets, ["setupSecrets"]);
    }

    #[test]
    fn a_flood_is_cut_and_says_so() {
        let line = [b'x'; 1 << 20];
        let chunks: Vec<&[u8]> = (0..9).flat_map(|_| [&line[..], b"\n"]).collect();
        let lines = lines_of(&chunks);
        assert_eq!(lines.lines.len(), 9);
        assert_eq!(lines.lines[8], "(1 more lines are in output.log in the guest)");
    }

    proptest! {
        #[test]
        fn chunking_makes_no_difference(text in "[a\n\r]{0,60}", cut in 0_usize..60) {
            let bytes = text.as_bytes();
            let (one, two) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(lines_of(&[one, two]), lines_of(&[bytes]));
        }
    }
}
