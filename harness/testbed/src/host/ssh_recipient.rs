//! The age recipient that belongs to an ssh host key, by the rule of ssh-to-age.

use bech32::{Bech32, Hrp};
use curve25519_dalek::edwards::CompressedEdwardsY;
use ssh_key::PublicKey;

use super::{AgeRecipient, values::ValueError};

impl AgeRecipient {
    /// Converts an `ssh-ed25519` public key: its Edwards point, as a Montgomery point, in bech32.
    ///
    /// # Errors
    /// When `text` is no ed25519 public key in OpenSSH's form.
    pub fn of_ssh(text: &str) -> Result<Self, ValueError> {
        let refused = |problem: String| {
            ValueError::new(problem, "write the line from /etc/ssh/ssh_host_ed25519_key.pub, `ssh-ed25519 AAAA…`")
        };
        let key =
            PublicKey::from_openssh(text).map_err(|error| refused(format!("this is no ssh public key: {error}")))?;
        let ed25519 = key
            .key_data()
            .ed25519()
            .ok_or_else(|| refused(format!("a key of type {} has no age form", key.algorithm())))?;
        let point = CompressedEdwardsY(ed25519.0)
            .decompress()
            .ok_or_else(|| refused("this ed25519 key is no point of the curve".to_owned()))?;
        let text = bech32::encode::<Bech32>(Hrp::parse_unchecked("age"), point.to_montgomery().as_bytes())
            .map_err(|error| refused(format!("this key has no bech32 form: {error}")))?;
        Self::try_from(text)
    }
}
