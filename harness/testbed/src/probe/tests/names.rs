//! Which names are asked for.

use super::authority::{Authority, Validity};
use crate::{
    host::{HostName, RepositoryPath, SopsValue, Tls},
    probe::{ProbeName, probe_names},
};

fn tls(wildcard_probe: bool) -> Tls {
    let name = |name: &str| HostName::try_from(name.to_owned()).unwrap();
    let sops_file = RepositoryPath::try_from("secrets.yaml".to_owned()).unwrap();
    Tls {
        certificate: SopsValue { sops_file, key: "certificate".to_owned() },
        private_key: None,
        roots: Vec::new(),
        names: vec![name("drone.ci.example.test"), name("ci.example.test")],
        wildcard_probe,
        port: 443,
        min_days: 14,
    }
}

fn random(names: &[ProbeName]) -> Vec<&str> {
    names.iter().filter(|name| name.random).map(|name| name.name.as_str()).collect()
}

#[test]
fn the_random_name_is_under_the_committed_wildcard_and_new_each_time() {
    let leaf = Authority::new(Validity::Current).leaf(Validity::Current).certificate;

    let names = probe_names(&tls(true), Some(&leaf));

    assert_eq!(names[..2], [ProbeName::declared("drone.ci.example.test"), ProbeName::declared("ci.example.test")]);
    let [name] = random(&names)[..] else { panic!("one random name, not {names:?}") };
    let digits = name.strip_prefix("probe-").and_then(|name| name.strip_suffix(".ci.example.test")).unwrap();
    assert!(digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{name}");
    assert_ne!(random(&probe_names(&tls(true), Some(&leaf))), [name]);
}

#[test]
fn without_a_committed_leaf_the_random_name_is_under_the_first_declared_one() {
    let names = probe_names(&tls(true), None);

    assert!(random(&names)[0].ends_with(".drone.ci.example.test"));
}

#[test]
fn without_the_wildcard_probe_only_declared_names_are_asked_for() {
    assert!(random(&probe_names(&tls(false), None)).is_empty());
}
