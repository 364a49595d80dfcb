//! Text that was wrapped into rows, as `base64`, `openssl`, `xxd -p` and PEM do: a form may begin in one row and end in
//! another. Rows are joined before they are looked through.

use memchr::memchr;

/// Widths that programs wrap at: 60 (`xxd -p`), 64 (PEM), 70 (OpenSSH), 76 (MIME). Some room, for prefixes.
const NARROWEST: usize = 48;
const WIDEST: usize = 100;
/// So much is looked through at once.
const LONGEST_RUN: usize = 64 << 10;

/// Joins rows that follow each other.
#[derive(Default)]
pub(crate) struct Rows {
    /// The line that a chunk ended in; `None` while it is too long to be a row.
    partial: Option<Vec<u8>>,
    joined: Vec<u8>,
    rows: usize,
    started: u64,
}

impl Rows {
    pub(crate) fn new() -> Self {
        Self { partial: Some(Vec::new()), ..Self::default() }
    }

    /// Takes the stream's next bytes; `found` gets each run of rows, joined, with the offset at which it begins.
    /// `longest` bytes of a run that is cut are looked through again with the next.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut at: u64, longest: usize, found: &mut dyn FnMut(&[u8], u64)) {
        while let Some(end) = memchr(b'\n', bytes) {
            match self.partial.take() {
                Some(mut line) if !line.is_empty() => {
                    if line.len() + end <= WIDEST {
                        line.extend_from_slice(&bytes[..end]);
                        self.line(&line, at, longest, found);
                    } else {
                        self.flush(found);
                    }
                }
                Some(_) => self.line(&bytes[..end], at, longest, found),
                None => self.flush(found),
            }
            self.partial = Some(Vec::new());
            bytes = &bytes[end + 1..];
            at += end as u64 + 1;
        }
        if let Some(line) = &mut self.partial {
            if line.len() + bytes.len() <= WIDEST {
                line.extend_from_slice(bytes);
            } else {
                self.partial = None;
            }
        }
    }

    /// Takes the last line.
    pub(crate) fn finish(&mut self, at: u64, found: &mut dyn FnMut(&[u8], u64)) {
        if let Some(line) = self.partial.take() {
            self.line(&line, at, 0, found);
        }
        self.flush(found);
    }

    fn line(&mut self, line: &[u8], at: u64, longest: usize, found: &mut dyn FnMut(&[u8], u64)) {
        if line.len() > WIDEST || line.len() < NARROWEST && self.rows == 0 {
            return self.flush(found);
        }
        let row = line.trim_ascii();
        if row.is_empty() || !row.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte)) {
            return self.flush(found);
        }
        if self.rows == 0 {
            self.started = at;
        }
        self.rows += 1;
        self.joined.extend_from_slice(row);
        if self.joined.len() >= LONGEST_RUN.max(4 * longest) {
            found(&self.joined, self.started);
            self.joined.drain(..self.joined.len() - longest);
        }
        // A short row ends what was wrapped.
        if row.len() < NARROWEST {
            self.flush(found);
        }
    }

    fn flush(&mut self, found: &mut dyn FnMut(&[u8], u64)) {
        if self.rows > 1 {
            found(&self.joined, self.started);
        }
        self.joined.clear();
        self.rows = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn joined(text: &[u8], chunk: usize) -> Vec<String> {
        let (mut rows, mut runs) = (Rows::new(), Vec::new());
        let mut found = |run: &[u8], _| runs.push(String::from_utf8_lossy(run).into_owned());
        for (n, bytes) in text.chunks(chunk).enumerate() {
            rows.push(bytes, (n * chunk) as u64, 8, &mut found);
        }
        rows.finish(text.len() as u64, &mut found);
        runs
    }

    proptest! {
        #[test]
        fn rows_are_joined_wherever_chunks_end(chunk in 1_usize..300, width in NARROWEST..WIDEST, rows in 2_usize..9) {
            let body: String = ('a'..='z').cycle().take(width * rows - 7).collect();
            let wrapped: Vec<_> = body.as_bytes().chunks(width).map(|row| std::str::from_utf8(row).unwrap()).collect();
            let text = format!("key: |\n{}\n\nnothing else\n", wrapped.join("\n"));
            prop_assert_eq!(joined(text.as_bytes(), chunk), [body]);
        }
    }

    #[test]
    fn other_lines_are_no_rows() {
        let line = "x".repeat(64);
        assert!(joined(format!("{line}\nand more\n{line} \n\n{line}!\n{line}\n").as_bytes(), 7).is_empty());
    }
}
