//! The HTTP header that opens a private git server.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, header::AUTHORIZATION};
use rand::{TryRngCore, rngs::OsRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A whole header line, `Authorization: Basic …` as a rule. It is wiped when dropped and never printed.
#[derive(Clone)]
pub struct Credential(Zeroizing<String>);

impl Credential {
    /// A random one, good for one run.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn random() -> std::io::Result<Self> {
        let mut secret = Zeroizing::new([0_u8; 32]);
        OsRng.try_fill_bytes(secret.as_mut()).map_err(std::io::Error::other)?;
        let password = Zeroizing::new(hex::encode(*secret));
        let pair = Zeroizing::new(format!("coldproof:{}", *password));
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        let line = format!("Authorization: Basic {}", *encoded);
        Ok(Self(Zeroizing::new(line)))
    }

    /// Takes a header line (`Name: value`) as a user keeps it; none if it is not exactly one such line.
    #[must_use]
    pub fn from_header_line(line: &str) -> Option<Self> {
        let line = line.trim();
        let (name, value) = line.split_once(':')?;
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let one_line = !line.contains(char::is_control);
        let sound = !name.is_empty() && name.chars().all(token) && !value.trim().is_empty();
        (sound && one_line).then(|| Self(Zeroizing::new(line.to_owned())))
    }

    /// The header line. It is a secret: it may go into a private file and nowhere else.
    #[must_use]
    pub fn header_line(&self) -> &str {
        &self.0
    }

    /// Whether `headers` carry it.
    pub(crate) fn opens(&self, headers: &HeaderMap) -> bool {
        let own = self.0.split_once(": ").map_or("", |(_, value)| value);
        // Comparing digests takes the same time wherever two values differ.
        let same = |given: &[u8]| Sha256::digest(given) == Sha256::digest(own.as_bytes());
        headers.get(AUTHORIZATION).is_some_and(|given| same(given.as_bytes()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Authorization: Bearer abc\n", true)]
    #[case("X-Token: abc", true)]
    #[case("abc", false)]
    #[case("Authorization:", false)]
    #[case("Authorization: a\nX: b", false)]
    #[case("Bad Name: a", false)]
    fn only_one_header_line_is_a_credential(#[case] text: &str, #[case] accepted: bool) {
        assert_eq!(Credential::from_header_line(text).is_some(), accepted);
    }

    #[test]
    fn it_is_never_printed_and_opens_for_itself_alone() {
        let credential = Credential::random().unwrap();
        assert_eq!(format!("{credential:?}"), "Credential(…)");
        let mut headers = HeaderMap::new();
        assert!(!credential.opens(&headers));
        let value = credential.header_line().split_once(": ").unwrap().1;
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        assert!(credential.opens(&headers));
        assert!(!Credential::random().unwrap().opens(&headers));
    }
}
