//! The closure of a store path: what Nix's database says of each path, and what its bytes say.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context as _, bail};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use coldproof_evidence::{Digest, guest::StorePathObservation};
use serde::Deserialize;
use serde_json::Value;

use crate::{nar, program};

/// The alphabet of Nix's own base 32, without e, o, t and u.
const BASE32: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Every path of the closure of `path`, its bytes hashed again.
pub(crate) fn observe(path: &str) -> anyhow::Result<Vec<StorePathObservation>> {
    let arguments = ["--extra-experimental-features", "nix-command", "path-info", "--json", "--recursive", path];
    let json = program::output("nix", &arguments)?;
    let mut closure = parse(&json).context("reading the output of `nix path-info --json`")?;
    rehash(&mut closure);
    Ok(closure)
}

/// Hashes every path's bytes, on all processors, the largest first so that none of them ends up alone with it.
fn rehash(closure: &mut [StorePathObservation]) {
    let mut order: Vec<usize> = (0..closure.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(closure[index].nar_size));
    let (next, paths) = (AtomicUsize::new(0), &*closure);
    let work = || {
        let claim = || order.get(next.fetch_add(1, Ordering::Relaxed)).copied();
        std::iter::from_fn(claim).map(|index| (index, actual_hash(&paths[index].path))).collect::<Vec<_>>()
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let hashes = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    for (index, actual) in hashes {
        closure[index].actual = actual;
    }
}

fn actual_hash(path: &str) -> Option<String> {
    match nar::hash(Path::new(path)) {
        Ok(digest) => Some(digest.to_string()),
        Err(error) => {
            eprintln!("observer: {path} could not be hashed: {error}");
            None
        }
    }
}

/// What `nix path-info` says of one path, in all versions since 2.4.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PathInfo {
    path: Option<String>,
    nar_hash: Value,
    nar_size: u64,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    ultimate: bool,
    deriver: Option<String>,
}

/// Reads the output of `nix path-info --json`, in each of the three shapes that it has had: a list (before 2.19), an
/// object by path, and an object `info` by base name beside a `storeDir` (since 2.33).
fn parse(json: &[u8]) -> anyhow::Result<Vec<StorePathObservation>> {
    let value: Value = serde_json::from_slice(json)?;
    let store = value.get("storeDir").and_then(Value::as_str).unwrap_or("/nix/store").to_owned();
    let absolute = |name: &str| if name.starts_with('/') { name.to_owned() } else { format!("{store}/{name}") };
    let infos: Vec<(Option<String>, PathInfo)> = match value {
        Value::Array(list) => {
            list.into_iter().map(|info| Ok((None, serde_json::from_value(info)?))).collect::<anyhow::Result<_>>()?
        }
        Value::Object(mut object) => {
            let by_name = object.remove("info").filter(Value::is_object).unwrap_or(Value::Object(object));
            let by_name: BTreeMap<String, Option<PathInfo>> = serde_json::from_value(by_name)?;
            let known = |(path, info): (String, Option<PathInfo>)| {
                let info = info.with_context(|| format!("Nix does not know {path}"))?;
                Ok((Some(path), info))
            };
            by_name.into_iter().map(known).collect::<anyhow::Result<_>>()?
        }
        other => bail!("expected a list or an object, found {other}"),
    };
    let observation = |(name, info): (Option<String>, PathInfo)| {
        let path = name.or(info.path).context("a path has no name")?;
        Ok(StorePathObservation {
            path: absolute(&path),
            registered: digest(&info.nar_hash).with_context(|| format!("the hash of {path}"))?.to_string(),
            actual: None,
            nar_size: info.nar_size,
            references: info.references.iter().map(|reference| absolute(reference)).collect(),
            built_here: info.ultimate,
            deriver: info.deriver.map(|deriver| absolute(&deriver)),
        })
    };
    infos.into_iter().map(observation).collect()
}

/// A hash as Nix writes it: SRI, `sha256:` with base 32 or base 16, or an object with algorithm, format and hash.
fn digest(value: &Value) -> anyhow::Result<Digest> {
    let unreadable = || format!("`{value}` is no SHA-256 that Nix would write");
    let text = match value {
        Value::String(text) => text.clone(),
        other => {
            let field = |name| other.get(name).and_then(Value::as_str).with_context(unreadable);
            let separator = if field("format")? == "base64" { '-' } else { ':' };
            format!("{}{separator}{}", field("algorithm")?, field("hash")?)
        }
    };
    let decoded = if let Some(base64) = text.strip_prefix("sha256-") {
        BASE64_STANDARD.decode(base64).ok()
    } else {
        text.strip_prefix("sha256:").and_then(|digits| match digits.len() {
            64 => hex::decode(digits).ok(),
            52 => from_base32(digits).map(Vec::from),
            _ => None,
        })
    };
    let bytes = decoded.and_then(|bytes| bytes.try_into().ok()).with_context(unreadable)?;
    Ok(Digest::from_bytes(bytes))
}

/// Nix's base 32 of 32 bytes: least significant digit last, five bits a digit.
fn from_base32(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    for (position, digit) in digits.bytes().rev().enumerate() {
        let value = u16::try_from(BASE32.iter().position(|&d| d == digit)?).ok()?;
        let (byte, bit) = (position * 5 / 8, position * 5 % 8);
        let [low, high] = (value << bit).to_le_bytes();
        *bytes.get_mut(byte)? |= low;
        match bytes.get_mut(byte + 1) {
            Some(next) => *next |= high,
            None if high != 0 => return None,
            None => {}
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEX: &str = "sha256:4136048633 08b467dd889bbff0682da510e2bb00cf152c4b8e7112385a02fb25";

    #[rstest]
    #[case::sri(r#""sha256-QTYEhjMItGfdiJu/8GgtpRDiuwDPFSxLjnESOFoC+yU=""#)]
    #[case::base32(r#""sha256:09gv09d3h4kiir5jq5fg02xy44555mlg1gwvi3fngd086f308dj1""#)]
    #[case::base16(r#""sha256:413604863308b467dd889bbff0682da510e2bb00cf152c4b8e7112385a02fb25""#)]
    #[case::object(r#"{"algorithm":"sha256","format":"base64","hash":"QTYEhjMItGfdiJu/8GgtpRDiuwDPFSxLjnESOFoC+yU="}"#)]
    fn every_way_in_which_nix_writes_a_hash_is_read(#[case] json: &str) {
        let value = serde_json::from_str(json).unwrap();
        assert_eq!(digest(&value).unwrap().to_string(), HEX.replace(' ', ""));
    }

    #[rstest]
    #[case(r#""sha512-QTYEhg==""#)]
    #[case(r#""sha256:e""#)]
    #[case(r#""sha256:zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz""#)]
    #[case("17")]
    fn anything_else_is_an_error(#[case] json: &str) {
        assert!(digest(&serde_json::from_str(json).unwrap()).is_err());
    }

    #[rstest]
    #[case::list(
        r#"[{"path":"/nix/store/a-x","narHash":$H,"narSize":1256,"references":["/nix/store/b-y"],"ultimate":true,"deriver":"/nix/store/d-x.drv"}]"#
    )]
    #[case::object(
        r#"{"/nix/store/a-x":{"narHash":$H,"narSize":1256,"references":["/nix/store/b-y"],"ultimate":true,"deriver":"/nix/store/d-x.drv"}}"#
    )]
    #[case::version_2(
        r#"{"version":2,"storeDir":"/nix/store","info":{"a-x":{"narHash":$H,"narSize":1256,"references":["b-y"],"ultimate":true,"deriver":"d-x.drv"}}}"#
    )]
    fn every_shape_of_path_info_is_read(#[case] json: &str) {
        let json = json.replace("$H", r#""sha256-QTYEhjMItGfdiJu/8GgtpRDiuwDPFSxLjnESOFoC+yU=""#);
        let closure = parse(json.as_bytes()).unwrap();
        let expected = StorePathObservation {
            path: "/nix/store/a-x".to_owned(),
            registered: HEX.replace(' ', ""),
            actual: None,
            nar_size: 1256,
            references: vec!["/nix/store/b-y".to_owned()],
            built_here: true,
            deriver: Some("/nix/store/d-x.drv".to_owned()),
        };
        assert_eq!(closure, [expected]);
    }

    #[test]
    fn a_path_that_nix_does_not_know_is_an_error() {
        let error = parse(br#"{"/nix/store/a-x":null}"#).unwrap_err();
        assert!(error.to_string().contains("does not know /nix/store/a-x"), "{error}");
    }
}
