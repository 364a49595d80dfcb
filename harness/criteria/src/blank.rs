//! `blank.*`: the machine knew nothing, and was told one secret.

use coldproof_evidence::{Mismatch, Record, guest::DeliveredSecret};

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch},
    need::Need,
};

pub(crate) const INVENTORY: Criterion = Criterion::new(
    "blank.inventory",
    "before bootstrap the machine has no key, no checkout, no store path beyond the image's, no known_hosts, \
     no state directory of a service, no generation and no failed unit",
    &[Need::Blank],
    inventory,
);

pub(crate) const ONE_SECRET: Criterion = Criterion::new(
    "blank.one-secret",
    "exactly one out-of-band secret was delivered, by stdin, to the stated path with mode 0400, \
     and its public half is the declared recipient",
    &[Need::Bootstrap],
    one_secret,
);

const OWNER_ONLY: u32 = 0o400;

fn inventory(record: &Record) -> Option<Judgement> {
    let blank = record.blank.facts()?;
    let mut judgement = Judgement::new("the inventory does not name the boot it was made in");
    if blank.boot_id.is_empty() {
        return Some(judgement);
    }
    let image = &record.context.image_packages;
    let kinds = [
        ("private key", &blank.keys),
        ("git checkout", &blank.checkouts),
        ("store path", &blank.store_paths),
        ("known_hosts file", &blank.known_hosts),
        ("state", &blank.state),
        ("failed unit", &blank.failed_units),
        ("generation", &blank.generations),
    ];
    for (kind, found) in kinds {
        let beyond_image = found.iter().filter(|what| !image.contains(what));
        judgement.subject(beyond_image.map(|what| {
            mismatch(
                what,
                format!("no {kind} before bootstrap"),
                format!("a {kind}"),
                "the image holds something of a host, or the machine is not blank: build the image anew and prove with --cold",
            )
        }));
    }
    for key in &blank.own_host_keys {
        let declared =
            record.expectations.recipients.iter().find(|(_, known)| Some(&known.age) == key.recipient.as_ref());
        judgement.subject(declared.map(|(name, _)| {
            mismatch(
                &key.path,
                "a host key that decrypts nothing",
                format!("the key of the recipient `{name}`"),
                "something hands the host's own key to the machine while it boots: take it out, or make it the bootstrap key",
            )
        }));
    }
    Some(judgement)
}

fn one_secret(record: &Record) -> Option<Judgement> {
    let bootstrap = record.bootstrap.facts()?;
    let mut judgement = Judgement::new("no secret was delivered");
    if bootstrap.delivered.len() != 1 {
        let names: Vec<_> = bootstrap.delivered.iter().map(|secret| secret.name.as_str()).collect();
        judgement.subject([mismatch(
            "out-of-band secrets",
            "exactly one",
            format!("{}: {}", names.len(), names.join(", ")),
            "everything but the bootstrap key must come from git: put it into a sops file",
        )]);
    }
    for secret in &bootstrap.delivered {
        judgement.subject(delivery_mismatches(secret, record));
    }
    Some(judgement)
}

fn delivery_mismatches(secret: &DeliveredSecret, record: &Record) -> Vec<Mismatch> {
    let expected = &record.expectations.bootstrap;
    let mode = format!("mode {OWNER_ONLY:04o} of root");
    let found_mode = format!("mode {:04o} of {}", secret.mode, secret.owner);
    let checks = [
        (
            "stdin",
            secret.channel.as_str(),
            "deliver it by standard input: arguments and environments can be read by others",
        ),
        (&expected.path, &secret.path, "set `path` under [bootstrap] to where the configuration reads its key"),
        (&mode, &found_mode, "the key must be readable by root alone: look for something in the guest that changes it"),
        (&expected.recipient, &secret.recipient, "deliver the key whose public half is `recipient` under [bootstrap]"),
        (
            "the delivered bytes",
            if secret.intact { "the delivered bytes" } else { "other bytes" },
            "the file was changed after delivery: look for something in the guest that writes there",
        ),
    ];
    checks
        .into_iter()
        .filter(|(expected, got, _)| expected != got)
        .map(|(expected, got, remedy)| mismatch(&secret.name, expected, got, remedy))
        .collect()
}
