//! Without what it needs a switch fails, and says why: whoever runs it must not look for the cause, nor find a host that
//! runs on something else.

use coldproof_evidence::{Record, deprived::DeprivedSwitch, rebuild::RebuildObservation};

use crate::{
    criterion::Criterion,
    judgement::{Judgement, mismatch, or_nothing},
    need::Need,
};

pub(crate) const MISSING_KEY: Criterion = Criterion::new(
    "secrets.missing-key-is-loud",
    "on a blank machine without the age key the switch fails, and its output names the key's path",
    &[Need::MissingKey],
    missing_key,
)
.blocked_by(&["convergence.one-switch"]);

pub(crate) const WRONG_KEY: Criterion = Criterion::new(
    "secrets.wrong-key-is-loud",
    "on a blank machine with an age key that nothing is encrypted to the switch fails, and its output says that the key does not fit",
    &[Need::WrongKey],
    wrong_key,
)
.blocked_by(&["convergence.one-switch"]);

pub(crate) const MISSING_CERTIFICATE: Criterion = Criterion::new(
    "secrets.missing-certificate-is-loud",
    "a switch to a commit whose sops file lacks the certificate fails, and its output names the certificate",
    &[Need::MissingCertificate],
    missing_certificate,
)
.blocked_by(&["convergence.one-switch"])
.declared_when(|expected| expected.tls.is_some());

/// How age, sops and sops-nix say that no key fits, in lower case.
const NO_KEY_FITS: [&str; 8] = [
    "did not match any of the recipients",
    "no identity matched",
    "data key",
    "cannot decrypt",
    "could not decrypt",
    "failed to decrypt",
    "decryption failed",
    "error decrypting",
];

fn missing_key(record: &Record) -> Option<Judgement> {
    let deprived = record.missing_key.facts()?;
    let expected = naming(deprived);
    let mut judgement =
        judge("the switch without the age key", &expected, deprived, |line| names_any(line, &deprived.withheld));
    if let Some(delivered) = &deprived.delivered {
        judgement.doubt(format!("a key was delivered to {} all the same", delivered.path));
    }
    Some(judgement)
}

fn wrong_key(record: &Record) -> Option<Judgement> {
    let deprived = record.wrong_key.facts()?;
    let says = |line: &str| {
        let lower = line.to_lowercase();
        names_any(line, &deprived.withheld) || NO_KEY_FITS.iter().any(|words| lower.contains(words))
    };
    let expected = "a switch that fails and says that the key does not fit";
    let mut judgement = judge("the switch with another age key", expected, deprived, says);
    let recipient = deprived.delivered.as_ref().map(|delivered| delivered.recipient.as_str());
    if recipient.is_none_or(|recipient| record.expectations.recipients.values().any(|known| known.age == recipient)) {
        judgement.doubt(format!("the key that was delivered ({}) is no other", recipient.unwrap_or("none")));
    }
    Some(judgement)
}

fn missing_certificate(record: &Record) -> Option<Judgement> {
    let deprived = record.missing_certificate.facts()?;
    let expected = naming(deprived);
    Some(judge("the switch without the certificate", &expected, deprived, |line| names_any(line, &deprived.withheld)))
}

fn naming(deprived: &DeprivedSwitch) -> String {
    format!("a switch that fails and names {}", deprived.withheld.join(" or "))
}

fn judge(which: &str, expected: &str, deprived: &DeprivedSwitch, says_why: impl Fn(&str) -> bool) -> Judgement {
    let switch = &deprived.switch;
    let mut judgement = Judgement::new("no switch was run");
    let Some(code) = switch.exit_code else {
        judgement.doubt(format!("{which} did not come to its end{}", by_signal(switch)));
        return judgement;
    };
    let cause = switch.output.iter().map(|line| line.trim()).find(|line| says_why(line));
    let wrong = |got: String, remedy: &str| mismatch(which, expected, got, remedy);
    match cause {
        _ if code == 0 => judgement.subject([wrong(
            format!("exit code 0; of the cause it says: {}", cause.unwrap_or("nothing")),
            "something takes the place of what is missing, or goes on without it: let the activation or the unit fail \
             where what it needs is not there, and remove defaults, placeholders and conditions that hide it",
        )]),
        Some(line) => {
            judgement.subject(None);
            judgement.quote(line);
        }
        // A switch that fails in any case has its own reason, and need not get as far as this one.
        None => judgement.absence(wrong(
            format!("exit code {code}, and nothing of the cause; the output ends with: {}", last_line(switch)),
            "let whoever misses it say so, by its path or name, where the operator reads it: on standard error of the \
             activation, or in the journal of the unit that fails",
        )),
    }
    judgement
}

fn by_signal(switch: &RebuildObservation) -> String {
    switch.signal.map(|signal| format!(": signal {signal}")).unwrap_or_default()
}

fn last_line(switch: &RebuildObservation) -> &str {
    or_nothing(switch.output.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty()).unwrap_or_default())
}

fn names_any(line: &str, names: &[String]) -> bool {
    names.iter().any(|name| names_it(line, name))
}

/// Whether the name stands in the line by itself: `cert` is not named by `certificate`.
fn names_it(line: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let ends = |(start, _): (usize, &str)| {
        let (before, after) = (&line[..start], &line[start + name.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    };
    !name.is_empty() && line.match_indices(name).any(ends)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::names_it;

    #[rstest]
    #[case("cannot read keyfile '/var/lib/sops-nix/key.txt': no such file", "/var/lib/sops-nix/key.txt", true)]
    #[case("secret 'cert': the key 'cert' is not in secrets.yaml", "cert", true)]
    #[case("loading certificates, certs and a-cert", "cert", false)]
    #[case("wildcard_cert_2 and wildcard_cert", "wildcard_cert", true)]
    #[case("anything", "", false)]
    fn a_name_counts_where_it_stands_by_itself(#[case] line: &str, #[case] name: &str, #[case] expected: bool) {
        assert_eq!(names_it(line, name), expected);
    }
}
