//! Taking secrets out of what is about to be handed on.

use crate::{Matcher, matcher::Found};

/// Replaces each byte of a form where the length must stay.
const BLANK: u8 = b'*';

impl Matcher {
    /// `text` with a marker in place of each form of a secret; none if it holds no secret. Rows that a form is wrapped
    /// into, and compression, are not looked through.
    #[must_use]
    pub fn redacted(&self, text: &str, names: &[String]) -> Option<(String, Vec<crate::Hit>)> {
        let found: Vec<Found> = self.find(text.as_bytes()).collect();
        if found.is_empty() {
            return None;
        }
        let (mut clean, mut end) = (String::new(), 0);
        for hit in &found {
            // Forms are UTF-8 themselves, so that both ends are ends of characters.
            clean.push_str(text.get(end..hit.start).unwrap_or_default());
            let name = self.secrets(hit.needle).first().and_then(|&secret| names.get(secret));
            clean.push_str(&format!("[{} removed]", name.map_or("secret", String::as_str)));
            end = hit.end;
        }
        clean.push_str(text.get(end..).unwrap_or_default());
        Some((clean, found.iter().map(|found| self.hit(found)).collect()))
    }

    /// Blanks each form of a secret in `bytes`; true if there was any.
    pub fn blank(&self, bytes: &mut [u8]) -> bool {
        let found: Vec<Found> = self.find(bytes).collect();
        for hit in &found {
            bytes[hit.start..hit.end].fill(BLANK);
        }
        !found.is_empty()
    }

    fn hit(&self, found: &Found) -> crate::Hit {
        crate::Hit {
            secrets: self.secrets(found.needle).to_vec(),
            encoding: self.encoding(found.needle),
            layers: Vec::new(),
            offset: found.start as u64,
            needle: found.needle,
        }
    }
}
