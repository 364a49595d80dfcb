//! The keys of a world: an age identity for recovery, and an SSH host key that doubles as one.

use anyhow::{Context, Result};
use bech32::{Bech32, Hrp};
use curve25519_dalek::MontgomeryPoint;
use sha2::{Digest, Sha512};
use ssh_key::{LineEnding, PrivateKey, private::Ed25519Keypair};
use zeroize::{Zeroize, Zeroizing};

/// An X25519 age identity.
pub(crate) struct AgeIdentity(Zeroizing<[u8; 32]>);

impl AgeIdentity {
    pub(crate) fn generate() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// The identity that ssh-to-age derives from an ed25519 key: the clamped half of SHA-512 of its seed (RFC 8032, 5.1.5).
    fn from_ed25519_seed(seed: &[u8; 32]) -> Self {
        let mut hash: [u8; 64] = Sha512::digest(seed).into();
        let mut scalar = Zeroizing::new([0; 32]);
        scalar.copy_from_slice(&hash[..32]);
        hash.zeroize();
        scalar[0] &= 248;
        scalar[31] &= 127;
        scalar[31] |= 64;
        Self(scalar)
    }

    /// The public half, `age1…`.
    pub(crate) fn recipient(&self) -> String {
        encode("age", MontgomeryPoint::mul_base_clamped(*self.0).as_bytes())
    }

    /// A key file as age-keygen writes it.
    pub(crate) fn key_file(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(encode("age-secret-key-", &self.0));
        Zeroizing::new(format!("# public key: {}\n{}\n", self.recipient(), secret.to_uppercase()))
    }
}

fn encode(prefix: &str, bytes: &[u8; 32]) -> String {
    bech32::encode::<Bech32>(Hrp::parse_unchecked(prefix), bytes)
        .expect("32 bytes and a short prefix are within bech32's limit of 90 characters")
}

/// An ed25519 SSH host key.
pub(crate) struct HostKey {
    /// In OpenSSH's format.
    pub(crate) private: Zeroizing<String>,
    /// `ssh-ed25519 AAAA… comment`
    pub(crate) public: String,
    /// What ssh-to-age makes of it.
    pub(crate) age: AgeIdentity,
}

impl HostKey {
    pub(crate) fn generate(comment: &str) -> Result<Self> {
        let seed = Zeroizing::new(rand::random::<[u8; 32]>());
        let mut key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        key.set_comment(comment);
        Ok(Self {
            private: key.to_openssh(LineEnding::LF).context("cannot encode the SSH host key")?,
            public: key.public_key().to_openssh().context("cannot encode the SSH host key's public half")?,
            age: AgeIdentity::from_ed25519_seed(&seed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What age-keygen says of the identity that ssh-to-age's rule gives for this seed.
    #[test]
    fn an_ed25519_key_becomes_the_identity_that_ssh_to_age_derives() {
        let identity = AgeIdentity::from_ed25519_seed(&[7; 32]);
        assert_eq!(identity.recipient(), "age1wcwc3myrqsfer807n4x364h30ejneryegzpd7kcn0wg2ptnwma6qfgnx5h");
        let file = identity.key_file();
        assert!(file.ends_with("\nAGE-SECRET-KEY-19ZKNNLHA0737YQ9FCCNWAAVEUCDZ6P2UFZ5Z3ZJW0EXYHJ3E9PUQPLJWDM\n"));
    }
}
