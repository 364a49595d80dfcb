//! Every form of a secret, in every kind of place that files are, as it is and through each compression.

use std::{fs, io::Write as _};

use coldproof_leaks::forms;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::*;

/// As awkward as a person's may be, and a key of two lines, each of which is a leak by itself.
const CANARY: &str = "canary-7 \"quoted\", C:\\new, 100 %s <é> it's $5/8?";
const KEY_LINES: [&str; 2] = ["MIGHAgEAMBMGByqGSM49AgEGCCqGSM49", "AwEHBG0wawIBAQQgKq0c+Zb/6a1xY2=="];

/// A kind of place, and a file that is there.
const PLACES: &[(&str, &str)] = &[
    ("nix store", "nix/store/0123456789abcdfghijklmnpqrsvwxyz-unit/app.service"),
    ("unit files", "etc/systemd/system/app.service"),
    ("unit files", "etc/systemd/system/app.service.d/override.conf"),
    ("unit files", "run/systemd/transient/app.service"),
    ("cloud-init data", "var/lib/cloud/instance/user-data.txt"),
    ("cloud-init data", "run/cloud-init/instance-data.json"),
    ("core dumps", "var/lib/systemd/coredump/core.app.0"),
    ("journal", "var/log/journal/0123/system.journal"),
    ("git", "root/checkout/.git/config"),
    ("/nix", "nix/var/nix/db/db.sqlite-wal"),
    ("/run", "run/app/state"),
    ("/etc", "etc/app.conf"),
    ("/var", "var/lib/app/backup"),
    ("/tmp", "tmp/app"),
    ("/root", "root/.bash_history"),
    ("/home", "home/a/.env"),
];

/// Writes a text down.
type Way = fn(&str) -> Vec<u8>;

/// How a place may hold what was written, and what findings call that.
const WAYS: [(Way, &str); 4] = [(plain, ""), (gzip, " in gzip"), (zlib, " in zlib"), (zstd, " in zstd")];

fn plain(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &str) -> Vec<u8> {
    compress_to_vec(text.as_bytes(), CompressionLevel::Fastest)
}

fn secrets() -> Vec<Secret> {
    let key = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", KEY_LINES.join("\n"));
    let secret =
        |(name, value): (&str, String)| Secret { name: name.to_owned(), value: value.into(), ..Secret::default() };
    [("canary", CANARY.to_owned()), ("key", key)].map(secret).into()
}

/// Writes the text into every place in every way; what is there already is replaced.
fn plant(root: &Path, text: &str) {
    for (_, place) in PLACES {
        for (number, (way, _)) in WAYS.iter().enumerate() {
            let path = root.join(format!("{place}.{number}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, way(text)).unwrap();
        }
    }
    fs::write(root.join("swap"), [&[0; 4096][..], text.as_bytes(), &[0; 4096]].concat()).unwrap();
}

/// Looks through the tree as if it were a guest's, and at its swap.
fn search(matcher: Matcher, root: &Path) -> (Matcher, LeaksObservation) {
    let report = Report::new(names(&secrets()), BTreeMap::new());
    let search = Search { matcher, report: &report, root };
    files::scan_roots(&search);
    files::look_at(&search, &root.join("swap"), Some(surface::SWAP), &mut files::chunk());
    let Search { matcher, .. } = search;
    (matcher, report.into_observation())
}

#[test]
fn every_form_is_found_in_every_place_and_nothing_where_nothing_is() {
    let root = tempfile::tempdir().unwrap();
    let mut matcher = Matcher::new(&secrets()).unwrap();
    let pieces = [("canary", CANARY), ("key", KEY_LINES[0]), ("key", KEY_LINES[1])];
    for (secret, piece) in pieces {
        for (encoding, form) in forms(piece) {
            plant(root.path(), &format!("app: token = \"{}\";\n", form.as_str()));
            let found;
            (matcher, found) = search(matcher, root.path());
            assert_eq!(found.gaps, [""; 0]);
            let is_found = |surface: &str, place: &Path, through: &str| {
                found.sightings.iter().any(|sighting| {
                    (&*sighting.surface, &*sighting.secret) == (surface, secret)
                        && sighting.place == place.to_string_lossy()
                        && sighting.form.ends_with(through)
                })
            };
            for (surface, place) in PLACES {
                for (number, (_, through)) in WAYS.iter().enumerate() {
                    let path = root.path().join(format!("{place}.{number}"));
                    assert!(is_found(surface, &path, through), "{secret} as {encoding}{through} in {place}");
                }
            }
            assert!(is_found(surface::SWAP, &root.path().join("swap"), ""), "{secret} as {encoding} in swap");
        }
    }
    plant(root.path(), "app: token = \"canary-8, and a line of another key: MIGHAgEAMBMGByqGSM49AgEGCCqGSM48\";\n");
    let (_, clean) = search(matcher, root.path());
    assert_eq!(clean.sightings, []);
    let looked_at: u64 = clean.surfaces.values().map(|scanned| scanned.items).sum();
    assert_eq!(looked_at, (PLACES.len() * WAYS.len() + 1) as u64, "every file was looked at");
}
