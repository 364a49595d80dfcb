//! The sops files: everything in them encrypted, and to nobody but those declared.

use std::collections::BTreeSet;

use coldproof_evidence::{Expectations, Mismatch, Record, source::SopsFileObservation};

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch, or_nothing},
    need::Need,
    secrets,
};

pub(crate) const SECRETS_ENCRYPTED: Criterion = Criterion::new(
    "source.secrets-encrypted",
    "every value of every sops file is encrypted and its MAC verifies",
    &[Need::Sops],
    secrets_encrypted,
)
.declared_when(uses_sops)
.of_an_original();

pub(crate) const RECIPIENTS_EXACT: Criterion = Criterion::new(
    "source.recipients-exact",
    "the recipients are exactly those declared, the bootstrap key's public half and the host key's age identity among them",
    &[Need::Sops],
    recipients_exact,
)
.declared_when(uses_sops)
.of_an_original();

fn uses_sops(expected: &Expectations) -> bool {
    !expected.secrets.is_empty() || !expected.recipients.is_empty()
}

fn secrets_encrypted(record: &Record) -> Option<Judgement> {
    let sops = record.sops.facts()?;
    let mut judgement = Judgement::new("the sops files hold no value");
    for file in &sops.files {
        for (key, encrypted) in &file.values {
            judgement.subject((!encrypted).then(|| {
                mismatch(
                    format!("{}#{key}", file.path),
                    "a value that sops encrypted",
                    "plain text",
                    format!(
                        "encrypt it (`sops edit {}`, and look at encrypted_regex and unencrypted_suffix in .sops.yaml); \
                         what git has seen in plain text must be replaced",
                        file.path
                    ),
                )
            }));
        }
        match &file.mac {
            Ok(()) => {}
            // The code itself is encrypted: that no held key opens the file is for secrets.each-recipient to tell.
            Err(cause) if secrets::values(file).is_none() => {
                judgement.doubt(format!("the MAC of {} could not be verified: {cause}", file.path));
            }
            Err(cause) => judgement.wrong(mismatch(
                &file.path,
                "a message authentication code that verifies",
                cause,
                "the file was edited without sops: restore the last version that verifies and edit it with `sops edit`",
            )),
        }
    }
    Some(judgement)
}

fn recipients_exact(record: &Record) -> Option<Judgement> {
    let sops = record.sops.facts()?;
    let expected = &record.expectations;
    let mut judgement = Judgement::new("there is no sops file");
    for file in &sops.files {
        judgement.subject(recipient_mismatches(file, expected));
    }
    let bootstrap = &expected.bootstrap.recipient;
    let declared = expected.recipients.values().any(|recipient| &recipient.age == bootstrap);
    if !sops.files.is_empty() && !bootstrap.is_empty() && !declared {
        judgement.wrong(mismatch(
            "[bootstrap] recipient",
            "one of [recipients]",
            bootstrap,
            "declare the bootstrap key's public half under [recipients]",
        ));
    }
    Some(judgement)
}

fn recipient_mismatches(file: &SopsFileObservation, expected: &Expectations) -> Vec<Mismatch> {
    let found: BTreeSet<&str> = file.recipients.iter().map(String::as_str).collect();
    let mut wrong = Vec::new();
    for (name, recipient) in &expected.recipients {
        if found.contains(recipient.age.as_str()) {
            continue;
        }
        let kind = if recipient.host_key { "the host key's age identity" } else { "the recipient" };
        wrong.push(mismatch(
            format!("{}: {name}", file.path),
            format!("{kind} {}", recipient.age),
            or_nothing(&file.recipients.join(", ")),
            format!("add it to .sops.yaml, then `sops updatekeys {}`, and commit", file.path),
        ));
    }
    let known = |age: &&str| expected.recipients.values().any(|recipient| recipient.age == *age);
    let undeclared = found.into_iter().filter(|age| !known(age));
    for other in undeclared.chain(file.other_recipients.iter().map(String::as_str)) {
        wrong.push(mismatch(
            &file.path,
            "only recipients of [recipients]",
            other,
            format!(
                "somebody else can read the secrets: remove it from .sops.yaml, `sops updatekeys {}`, rotate what it could \
                 read; or declare it under [recipients]",
                file.path
            ),
        ));
    }
    wrong
}
