//! age identities from the key files that operators have, and the recipients that belong to them.

use age::secrecy::ExposeSecret as _;
use bech32::{Bech32, Hrp};
use sha2::{Digest, Sha512};
use ssh_key::{LineEnding, PrivateKey, private::Ed25519Keypair};
use zeroize::Zeroizing;

/// How an OpenSSH private key begins.
const OPENSSH: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";

/// Why a text is no private key that can decrypt a sops file. The text itself is never in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Neither form was found.
    #[error("the key file holds no age identity and no OpenSSH private key; make one with `age-keygen`")]
    None,
    /// More than one would be more than one secret.
    #[error("the key file holds {0} age identities; keep exactly one in it")]
    Several(usize),
    /// A line that looks like an identity and is none.
    #[error("the age identity in the key file is damaged: {0}; restore it from where it is kept")]
    Age(String),
    /// An OpenSSH key that cannot be read.
    #[error("the OpenSSH key in the key file cannot be read: {0}; restore it from where it is kept")]
    Ssh(String),
    /// An OpenSSH key with a passphrase.
    #[error("the OpenSSH key in the key file has a passphrase; a host's own key has none (`ssh-keygen -p` removes it)")]
    Passphrase,
    /// An OpenSSH key that is not ed25519.
    #[error("an OpenSSH key of type {0} has no age form; use an ed25519 key")]
    Kind(String),
}

/// The age identity (`AGE-SECRET-KEY-1…`) in the text of a key file: age's own format with comments, or the OpenSSH
/// private key of a host.
///
/// # Errors
/// When there is not exactly one that can be used.
pub fn identity_in(text: &str) -> Result<Zeroizing<String>, IdentityError> {
    if text.contains(OPENSSH) {
        return identity_of_ssh(text);
    }
    let lines = text.lines().map(str::trim).filter(|line| line.starts_with("AGE-SECRET-KEY-"));
    match lines.collect::<Vec<_>>()[..] {
        [] => Err(IdentityError::None),
        [line] => parse(line).map(|_| Zeroizing::new(line.to_owned())),
        ref several => Err(IdentityError::Several(several.len())),
    }
}

/// The recipient (`age1…`) that belongs to the identity in the text of a key file; see [`identity_in`].
///
/// # Errors
/// When there is not exactly one that can be used.
pub fn of_identity(text: &str) -> Result<String, IdentityError> {
    Ok(parse(&identity_in(text)?)?.to_public().to_string())
}

/// A new key of the same form as the one in the text, to which nothing was ever encrypted.
///
/// # Errors
/// When it cannot be written in that form.
pub fn stranger_to(text: &str) -> Result<Zeroizing<String>, IdentityError> {
    if !text.contains(OPENSSH) {
        return Ok(Zeroizing::new(format!("{}\n", age::x25519::Identity::generate().to_string().expose_secret())));
    }
    let seed = Zeroizing::new(rand::random::<[u8; 32]>());
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    key.to_openssh(LineEnding::LF).map_err(|error| IdentityError::Ssh(error.to_string()))
}

fn parse(identity: &str) -> Result<age::x25519::Identity, IdentityError> {
    identity.parse().map_err(|error: &str| IdentityError::Age(error.to_owned()))
}

/// The rule of ssh-to-age: the ed25519 seed, hashed and clamped as for signing (RFC 8032, 5.1.5), is an X25519 scalar.
fn identity_of_ssh(text: &str) -> Result<Zeroizing<String>, IdentityError> {
    let key = PrivateKey::from_openssh(text.trim()).map_err(|error| IdentityError::Ssh(error.to_string()))?;
    if key.is_encrypted() {
        return Err(IdentityError::Passphrase);
    }
    let pair = key.key_data().ed25519();
    let pair = pair.ok_or_else(|| IdentityError::Kind(key.algorithm().to_string()))?;
    let hash = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(pair.private.as_ref())));
    let mut scalar = Zeroizing::new([0; 32]);
    scalar.copy_from_slice(&hash[..32]);
    scalar[0] &= 248;
    scalar[31] &= 127;
    scalar[31] |= 64;
    // Room for all of it, so that growing leaves no copy behind.
    let mut identity = Zeroizing::new(String::with_capacity(128));
    bech32::encode_upper_to_fmt::<Bech32, String>(&mut identity, Hrp::parse_unchecked("age-secret-key-"), &scalar[..])
        .map_err(|error| IdentityError::Ssh(error.to_string()))?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    use rstest::rstest;

    use super::*;
    use crate::host::AgeRecipient;

    /// As age-keygen 1.1.1 wrote it, for nothing but this.
    const KEY_FILE: &str = "\
# created: 2026-11-29T19:20:06Z
# public key: age196hlayztjg6dnt9ppquqzeszrjypvsd5wy0kjr2lh7nh5309heqseludg8
AGE-SECRET-KEY-109PKXFVDN433FWSA2M7ZFYKN9254TFUND7MQM89C5T5LKSA0LYSS02HD8V
";
    const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

    fn ssh_keygen(dir: &Path, kind: &str, passphrase: &str) -> (String, String) {
        let file = dir.join(kind);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", kind, "-C", "", "-N", passphrase, "-f"])
            .arg(&file)
            .status()
            .unwrap();
        assert!(made.success());
        (fs::read_to_string(&file).unwrap(), fs::read_to_string(file.with_extension("pub")).unwrap())
    }

    #[test]
    fn the_host_keys_two_halves_become_one_age_key() {
        let dir = tempfile::tempdir().unwrap();
        let (private, public) = ssh_keygen(dir.path(), "ed25519", "");
        assert_eq!(of_identity(&private).unwrap(), AgeRecipient::of_ssh(public.trim()).unwrap().as_str());
    }

    #[test]
    fn an_age_key_file_gives_the_recipient_that_age_keygen_wrote_into_it() {
        let recipient = KEY_FILE.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
        assert_eq!(of_identity(KEY_FILE).unwrap(), recipient);
        assert!(identity_in(KEY_FILE).unwrap().starts_with("AGE-SECRET-KEY-1"));
    }

    #[test]
    fn a_stranger_has_the_same_form_and_another_recipient() {
        let dir = tempfile::tempdir().unwrap();
        let (ssh, _) = ssh_keygen(dir.path(), "ed25519", "");
        for key in [IDENTITY, &ssh] {
            let stranger = stranger_to(key).unwrap();
            assert_eq!(stranger.contains(OPENSSH), key.contains(OPENSSH));
            assert_ne!(of_identity(&stranger).unwrap(), of_identity(key).unwrap());
        }
    }

    #[rstest]
    #[case("ecdsa", "", IdentityError::Kind("ecdsa-sha2-nistp256".to_owned()))]
    #[case("ed25519", "passphrase", IdentityError::Passphrase)]
    fn other_ssh_keys_are_refused(#[case] kind: &str, #[case] passphrase: &str, #[case] error: IdentityError) {
        let dir = tempfile::tempdir().unwrap();
        let (private, _) = ssh_keygen(dir.path(), kind, passphrase);
        assert_eq!(of_identity(&private).unwrap_err(), error);
    }

    #[test]
    fn there_must_be_exactly_one_identity_and_it_is_not_repeated() {
        assert_eq!(identity_in("# nothing\n").unwrap_err(), IdentityError::None);
        let two = format!("{IDENTITY}\n{IDENTITY}\n");
        assert_eq!(identity_in(&two).unwrap_err(), IdentityError::Several(2));
        let damaged = IDENTITY.replace("GFPYY", "GFPYX");
        let error = identity_in(&damaged).unwrap_err();
        assert!(matches!(error, IdentityError::Age(_)));
        assert!(!error.to_string().contains("SJZG"), "{error}");
    }
}
