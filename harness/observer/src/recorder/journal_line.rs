//! The last line of the journal, for somebody who watches.

use std::{
    io::Read as _,
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::program;

/// A journalctl that follows the journal. Nothing depends on it: where it cannot run, there is no line.
pub(super) struct JournalLine {
    child: Option<Child>,
    pipe: Option<ChildStdout>,
    partial: Vec<u8>,
    line: String,
}

impl JournalLine {
    pub(super) fn follow() -> Self {
        let mut child = program::find("journalctl").ok().and_then(|journalctl| {
            Command::new(journalctl)
                .args(["--quiet", "--follow", "--lines=1", "--output=short-monotonic", "--no-hostname"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .ok()
        });
        let pipe = child.as_mut().and_then(|child| child.stdout.take());
        Self { child, pipe, partial: Vec::new(), line: String::new() }
    }

    /// The pipe to wait on; none once it has ended.
    pub(super) const fn pipe(&self) -> Option<&ChildStdout> {
        self.pipe.as_ref()
    }

    /// Reads once; to be called when something has arrived.
    pub(super) fn receive(&mut self) {
        let mut chunk = [0; 16 << 10];
        match self.pipe.as_mut().map(|pipe| pipe.read(&mut chunk)) {
            Some(Ok(count)) if count > 0 => self.push(&chunk[..count]),
            _ => self.pipe = None,
        }
    }

    pub(super) fn line(&self) -> &str {
        &self.line
    }

    fn push(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.iter().rposition(|&byte| byte == b'\n') else { return };
        let complete: Vec<u8> = self.partial.drain(..=end).collect();
        let text = String::from_utf8_lossy(&complete);
        if let Some(last) = text.lines().rev().find(|line| !line.trim().is_empty()) {
            last.split_once("] ").map_or(last, |(_time, said)| said).trim().clone_into(&mut self.line);
        }
    }
}

impl Drop for JournalLine {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself; either way nothing is left of it.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complete_line_is_shown_without_its_time() {
        let mut journal = JournalLine { child: None, pipe: None, partial: Vec::new(), line: String::new() };
        journal.push(b"[   12.5] systemd[1]: Starting a.\n[   12.6] nginx[7]: rea");
        assert_eq!(journal.line(), "systemd[1]: Starting a.");
        journal.push(b"dy [1] \xff\n\n");
        assert_eq!(journal.line(), "nginx[7]: ready [1] \u{fffd}");
    }
}
