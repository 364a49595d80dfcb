//! Secrets as they are in the guest. Their bytes are read, hashed under a key of this run, and wiped.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use coldproof_evidence::{
    guest::SecretObservation,
    request::{ObserveRequest, SecretQuery},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{accounts::Accounts, mounts::Mounts};

/// No secret is this long; a file that is would only be read in vain.
const LONGEST: u64 = 16 << 20;

/// Every secret asked for, by name, and the one secret that was delivered, under its own path.
pub(crate) fn observe(request: &ObserveRequest) -> anyhow::Result<BTreeMap<String, SecretObservation>> {
    let key = Zeroizing::new(
        hex::decode(&request.hmac_key).context("the request's hmac_key is no hex: send the run's key as hex digits")?,
    );
    let (accounts, mounts) = (Accounts::read(), Mounts::read());
    let look = |query: &SecretQuery| look_at(query, &key, &accounts, &mounts);
    let mut secrets: BTreeMap<_, _> = request.secrets.iter().map(|(name, query)| (name.clone(), look(query))).collect();
    if !request.bootstrap_path.is_empty() {
        let query = SecretQuery { path: request.bootstrap_path.clone(), links: Vec::new() };
        secrets.insert(request.bootstrap_path.clone(), look(&query));
    }
    Ok(secrets)
}

fn look_at(query: &SecretQuery, key: &[u8], accounts: &Accounts, mounts: &Mounts) -> SecretObservation {
    let links = query.links.iter().map(|link| (link.clone(), link_target(Path::new(link)))).collect();
    let mut secret = SecretObservation { path: query.path.clone(), links, ..SecretObservation::default() };
    let Ok(resolved) = fs::canonicalize(&query.path) else { return secret };
    let Ok(metadata) = fs::metadata(&resolved) else { return secret };
    secret.size = metadata.len();
    secret.mode = metadata.permissions().mode() & 0o7777;
    secret.owner = accounts.user(metadata.uid());
    secret.group = accounts.group(metadata.gid());
    secret.filesystem = mounts.type_of(&resolved).to_owned();
    if metadata.is_file() && metadata.len() <= LONGEST {
        secret.hmac = keyed_hash(&resolved, metadata.len(), key).ok();
    }
    secret.resolved = Some(resolved.to_string_lossy().into_owned());
    secret
}

/// What a symbolic link resolves to; none if it is no link or leads nowhere.
fn link_target(link: &Path) -> Option<String> {
    let is_link = fs::symlink_metadata(link).is_ok_and(|metadata| metadata.is_symlink());
    let target = is_link.then(|| fs::canonicalize(link).ok()).flatten()?;
    Some(target.to_string_lossy().into_owned())
}

fn keyed_hash(path: &Path, size: u64, key: &[u8]) -> io::Result<String> {
    // All of the file fits from the start: growing would leave unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size + 1).map_err(io::Error::other)?));
    File::open(path)?.take(size + 1).read_to_end(&mut bytes)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(io::Error::other)?;
    mac.update(&bytes);
    Ok(hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn the_keyed_hash_is_hmac_sha_256() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "what do ya want for nothing?").unwrap();
        let hash = keyed_hash(&path, 28, b"Jefe").unwrap();
        assert_eq!(hash, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_secret_is_described_through_its_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::write(root.join("key"), "AGE").unwrap();
        fs::set_permissions(root.join("key"), fs::Permissions::from_mode(0o440)).unwrap();
        symlink("key", root.join("link")).unwrap();
        symlink("gone", root.join("dangling")).unwrap();
        let at = |name: &str| root.join(name).to_string_lossy().into_owned();
        let query = SecretQuery { path: at("link"), links: vec![at("link"), at("dangling"), at("key")] };
        let request = ObserveRequest {
            hmac_key: "4a656665".to_owned(),
            secrets: [("key".to_owned(), query)].into(),
            bootstrap_path: at("absent"),
            ..ObserveRequest::default()
        };
        let secrets = observe(&request).unwrap();
        let secret = &secrets["key"];
        assert_eq!((secret.mode, secret.size, secret.resolved.clone()), (0o440, 3, Some(at("key"))));
        assert!(!secret.filesystem.is_empty() && secret.hmac.is_some());
        let links: Vec<_> = secret.links.values().cloned().collect();
        assert_eq!(links, [None, None, Some(at("key"))]);
        assert_eq!(secrets[&at("absent")].resolved, None);
    }
}
