//! Each secret where, what and whose it should be.

use std::collections::BTreeMap;

use coldproof_evidence::{
    Mismatch, Record,
    expectations::ExpectedSecret,
    guest::SecretObservation,
    source::{Decryption, SopsFileObservation},
};

use crate::{
    convergence,
    criterion::{Criterion, Requires},
    judgement::{Judgement, mismatch, or_nothing},
    need::Need,
};

pub(crate) const IN_PLACE: Criterion = Criterion::new(
    "secrets.in-place",
    "every declared secret is there, non-empty, on a RAM file system, and equal to git's value by keyed hash",
    &[Need::Sops, Need::System],
    in_place,
)
.requiring(Requires::System)
.declared_when(|expected| !expected.secrets.is_empty())
.of_an_original();

pub(crate) const MODES: Criterion = Criterion::new(
    "secrets.modes",
    "mode, owner and group of every declared secret are as declared, and its links resolve to it",
    &[Need::System],
    modes,
)
.requiring(Requires::System)
.blocked_by(&["secrets.in-place"])
.declared_when(|expected| !expected.secrets.is_empty())
.of_an_original();

pub(crate) const EACH_RECIPIENT: Criterion = Criterion::new(
    "secrets.each-recipient",
    "each key that is held decrypts every sops file, alone, to the same values",
    &[Need::Sops],
    each_recipient,
)
.blocked_by(&["source.recipients-exact"])
.declared_when(|expected| expected.recipients.values().any(|recipient| recipient.held))
.of_an_original();

const RAM_FILE_SYSTEMS: [&str; 2] = ["tmpfs", "ramfs"];
const NO_SECRET: &str = "the host definition declares no secret";

/// Whether a secret that was seen is what the host definition and git say, as far as git's value is known.
pub(crate) fn as_declared(record: &Record, name: &str, seen: &SecretObservation) -> bool {
    let Some(secret) = record.expectations.secrets.get(name) else { return true };
    let value_holds = git_value(record, secret).is_none_or(|value| seen.hmac.as_deref() == Some(value));
    value_holds && mode_mismatches(name, secret, seen).is_empty()
}

/// The keyed hash of git's value, by the first held key that decrypts the file.
fn git_value<'r>(record: &'r Record, secret: &ExpectedSecret) -> Option<&'r str> {
    let sops = record.sops.facts()?;
    let file = sops.files.iter().find(|file| file.path == secret.sops_file)?;
    // sops-nix writes nested keys with `/`, sops with `.`.
    values(file)?.get(&secret.sops_key.replace('/', ".")).map(String::as_str)
}

/// What the first held key that opens the file decrypts.
pub(crate) fn values(file: &SopsFileObservation) -> Option<&BTreeMap<String, String>> {
    file.decryptions.values().find_map(|decryption| match decryption {
        Decryption::Values(values) => Some(values),
        Decryption::Failed(_) => None,
    })
}

fn in_place(record: &Record) -> Option<Judgement> {
    let system = record.system.facts()?;
    record.sops.facts()?;
    let mut judgement = Judgement::new(NO_SECRET);
    for (name, secret) in &record.expectations.secrets {
        let Some(seen) = system.secrets.get(name).filter(|seen| seen.resolved.is_some()) else {
            if convergence::activation_failed(record) {
                let blocker = convergence::ONE_SWITCH.name;
                judgement
                    .doubt(format!("blocked by {blocker}: the activation failed and {} is not there", secret.path));
            } else {
                judgement.subject([no_secret(secret)]);
            }
            continue;
        };
        let git = git_value(record, secret);
        if git.is_none() {
            let what = format!("{}#{}", secret.sops_file, secret.sops_key);
            judgement.doubt(format!("git's value of {what} is not known: no held key decrypts it"));
        }
        judgement.subject(place_mismatches(secret, seen, git));
    }
    Some(judgement)
}

fn no_secret(secret: &ExpectedSecret) -> Mismatch {
    mismatch(
        &secret.path,
        "a secret",
        "nothing",
        "the configuration does not place it, or its decryption failed quietly: \
         look for sops in the switch's output, and at sops.secrets in the configuration",
    )
}

fn place_mismatches(secret: &ExpectedSecret, seen: &SecretObservation, git: Option<&str>) -> Vec<Mismatch> {
    let mut wrong = Vec::new();
    if seen.size == 0 {
        wrong.push(mismatch(
            &secret.path,
            "a value",
            "an empty file",
            "something made the file before the secret was written, or git's value is empty",
        ));
    } else if let Some(git) = git.filter(|git| seen.hmac.as_deref() != Some(git)) {
        wrong.push(mismatch(
            &secret.path,
            format!("git's value (keyed hash {git})"),
            format!("another value (keyed hash {})", seen.hmac.as_deref().unwrap_or("none")),
            "the guest holds an older or altered value: commit the new gitlink and switch, and let nothing but sops write it",
        ));
    }
    if !RAM_FILE_SYSTEMS.contains(&seen.filesystem.as_str()) {
        wrong.push(mismatch(
            &secret.path,
            "a file on tmpfs or ramfs",
            format!("{} on {}", seen.resolved.as_deref().unwrap_or_default(), or_nothing(&seen.filesystem)),
            "a decrypted secret must not reach a disk: keep it under /run/secrets and link to it",
        ));
    }
    wrong
}

fn modes(record: &Record) -> Option<Judgement> {
    let system = record.system.facts()?;
    let mut judgement = Judgement::new(NO_SECRET);
    for (name, secret) in &record.expectations.secrets {
        match system.secrets.get(name).filter(|seen| seen.resolved.is_some()) {
            Some(seen) => judgement.subject(mode_mismatches(name, secret, seen)),
            None => judgement.absence(mismatch(&secret.path, declared_mode(secret), "nothing", "see secrets.in-place")),
        }
    }
    Some(judgement)
}

fn declared_mode(secret: &ExpectedSecret) -> String {
    format!("{:04o} {}:{}", secret.mode, secret.owner, secret.group)
}

fn mode_mismatches(name: &str, secret: &ExpectedSecret, seen: &SecretObservation) -> Vec<Mismatch> {
    let mut wrong = Vec::new();
    let (declared, found) = (declared_mode(secret), format!("{:04o} {}:{}", seen.mode, seen.owner, seen.group));
    if declared != found {
        wrong.push(mismatch(
            &secret.path,
            declared,
            found,
            format!(
                "set mode, owner and group of sops.secrets.{name} in the configuration, or correct [secrets.{name}]"
            ),
        ));
    }
    for link in &secret.links {
        let target = seen.links.get(link).cloned().flatten();
        if target.is_none() || target != seen.resolved {
            wrong.push(mismatch(
                link,
                format!("a symbolic link that resolves to {}", secret.path),
                target.as_deref().unwrap_or("no symbolic link"),
                "link to the secret, never copy it: a copy stays on the disk and grows stale",
            ));
        }
    }
    wrong
}

fn each_recipient(record: &Record) -> Option<Judgement> {
    let sops = record.sops.facts()?;
    let mut judgement = Judgement::new("no recipient's key is held: each is a label only");
    let held = || record.expectations.recipients.iter().filter(|(_, recipient)| recipient.held);
    for file in &sops.files {
        let reference = values(file);
        for (name, recipient) in held() {
            let subject = format!("{}: {name}", file.path);
            let Some(decryption) = file.decryptions.get(name) else {
                judgement.doubt(format!("decrypting {} with the key {name} was not tried", file.path));
                continue;
            };
            let Some(wrong) = decryption_mismatch(subject, decryption, reference) else {
                judgement.subject(None);
                continue;
            };
            if !file.recipients.contains(&recipient.age) {
                judgement.absence(wrong);
            } else {
                judgement.subject([wrong]);
            }
        }
    }
    Some(judgement)
}

fn decryption_mismatch(
    subject: String,
    decryption: &Decryption,
    reference: Option<&BTreeMap<String, String>>,
) -> Option<Mismatch> {
    match decryption {
        Decryption::Failed(cause) => Some(mismatch(
            subject,
            "the key alone decrypts the file",
            cause,
            "the recipient is a label only: `sops updatekeys` with a key that can decrypt, and commit",
        )),
        Decryption::Values(values) if Some(values) != reference => Some(mismatch(
            subject,
            "the same values as with every other key",
            "other values",
            "the file was put together from two versions: restore one and edit it with `sops edit`",
        )),
        Decryption::Values(_) => None,
    }
}
