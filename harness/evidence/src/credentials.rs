//! What looks like a credential in a text, line by line. The credential itself is never returned.
//!
//! The rules are those of the files that git writes (`.git/config`, `.gitmodules`, `FETCH_HEAD`, remotes) and of
//! `NAME=value` environments. Nothing is expanded in either, so a value counts as it stands.

use crate::source::CredentialSighting;

/// Token formats that their issuers made recognisable: prefix, and the fewest characters that follow it.
const TOKENS: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("dckr_pat_", 20),
    ("gho_", 36),
    ("ghp_", 36),
    ("ghr_", 36),
    ("ghs_", 36),
    ("ghu_", 36),
    ("github_pat_", 22),
    ("glpat-", 20),
    ("hf_", 30),
    ("npm_", 36),
    ("xoxb-", 20),
    ("xoxp-", 20),
];

/// Last words of a name that stands for a secret (`DRONE_RPC_SECRET`).
const SECRET_WORDS: &[&str] = &["apikey", "passphrase", "passwd", "password", "pat", "secret", "token"];

/// Words that make the word `key` after them a secret one (`ACCESS_KEY`, but not `SORT_KEY`).
const KEY_WORDS: &[&str] = &["access", "api", "auth", "encryption", "private", "secret", "signing"];

/// First components of a path: a value that begins so names a file instead of being a secret.
const ROOTS: &[&str] = &[
    "/dev/", "/etc/", "/home/", "/mnt/", "/nix/", "/opt/", "/proc/", "/root/", "/run/", "/srv/", "/sys/", "/tmp/",
    "/usr/", "/var/",
];

/// Everything in `text` that looks like a credential; `tree` and `file` are copied into what is returned.
///
/// Kinds: `url-userinfo`, `extra-header`, `authorization-header`, `private-key`, `token`, and `named-secret` for a
/// value whose name says that it is one. Comments count: what is in the file can be read from it.
#[must_use]
pub fn sightings(tree: &str, file: &str, text: &str) -> Vec<CredentialSighting> {
    let lines = text.lines().enumerate();
    lines
        .flat_map(|(index, line)| {
            kinds(line).into_iter().map(move |kind| CredentialSighting {
                tree: tree.to_owned(),
                file: file.to_owned(),
                line: index + 1,
                kind: kind.to_owned(),
            })
        })
        .collect()
}

/// Whether the assignment `name=value`, for instance one of a unit's environment, holds a credential.
#[must_use]
pub fn is_credential(name: &str, value: &str) -> bool {
    is_named_secret(name, value)
        || has_url_userinfo(value)
        || has_authorization(value)
        || is_private_key(value)
        || has_token(value)
}

fn kinds(line: &str) -> Vec<&'static str> {
    let any = |rule: fn(&str, &str) -> bool| assignments(line).any(|(name, value)| rule(name, value));
    let extra_header = any(is_extra_header);
    let rules = [
        ("url-userinfo", has_url_userinfo(line)),
        ("extra-header", extra_header),
        ("authorization-header", !extra_header && has_authorization(line)),
        ("private-key", is_private_key(line)),
        ("token", !extra_header && has_token(line)),
        ("named-secret", any(is_named_secret)),
    ];
    let seen = rules.into_iter().filter(|(_, seen)| *seen);
    seen.map(|(kind, _)| kind).collect()
}

/// Every name before an equals sign, with the rest of the line as its value: `Environment=TOKEN=x` has two.
fn assignments(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.match_indices('=').map(move |(at, _)| {
        let before = line[..at].trim_end_matches([' ', '\t', '"', '\'']);
        let name = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || "_.-".contains(c));
        (&before[name.len()..], unquoted(&line[at + 1..]))
    })
}

fn unquoted(value: &str) -> &str {
    value.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'')
}

/// git's `http.extraHeader`; an empty one takes back those before it.
fn is_extra_header(name: &str, value: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("extraheader") && !value.is_empty()
}

/// A URL with a password in it, or with a user name that is long enough to be a token. `ssh://git@host` is neither.
fn has_url_userinfo(text: &str) -> bool {
    text.match_indices("://").any(|(at, separator)| {
        let rest = &text[at + separator.len()..];
        let end = rest.find(|c: char| c.is_whitespace() || "/?#\"'<>`".contains(c));
        let authority = &rest[..end.unwrap_or(rest.len())];
        let Some((userinfo, _)) = authority.rsplit_once('@') else {
            return false;
        };
        let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        // A user name as long as a token, where a server expects a name, is how tokens are put into URLs.
        is_value(password) || user.len() >= 20 || has_token(user)
    })
}

/// `Authorization: Basic …`, `Bearer …` or `token …`, whatever stands before it.
fn has_authorization(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.match_indices("authorization:").any(|(at, header)| {
        let mut words = lower[at + header.len()..].split_whitespace();
        let scheme = words.next().unwrap_or_default();
        ["basic", "bearer", "token"].contains(&scheme) && words.next().is_some()
    })
}

fn is_private_key(text: &str) -> bool {
    text.contains("PRIVATE KEY-----") || text.contains("AGE-SECRET-KEY-1")
}

fn has_token(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.split(|c| !word(c)).any(|word| {
        let known =
            TOKENS.iter().any(|(prefix, least)| word.strip_prefix(prefix).is_some_and(|rest| rest.len() >= *least));
        known || is_jwt_part(word) && text.contains(&format!("{word}.eyJ"))
    })
}

/// The header of a JSON web token: base64url of an object, `{"…`.
fn is_jwt_part(word: &str) -> bool {
    word.len() >= 16 && word.starts_with("eyJ")
}

fn is_named_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut words = name.rsplit(['_', '-', '.']);
    let last = words.next().unwrap_or_default();
    let before = words.next().unwrap_or_default();
    let secret = SECRET_WORDS.contains(&last)
        || last == "key" && KEY_WORDS.contains(&before)
        || KEY_WORDS.iter().any(|word| last.strip_suffix("key") == Some(word));
    secret && is_value(unquoted(value))
}

/// Whether `value` is one at all, and neither a path, a switch, sops' ciphertext nor asterisks.
fn is_value(value: &str) -> bool {
    let switch = ["0", "1", "false", "no", "none", "null", "true", "yes"];
    !(value.chars().all(|c| c == '*')
        || switch.contains(&value)
        || value.starts_with("ENC[")
        || ROOTS.iter().any(|root| value.starts_with(root)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("\turl = https://ci:hunter2@git.example.test/base.git", "url-userinfo")]
    #[case("\turl = https://0123456789abcdef0123@git.example.test/base.git", "url-userinfo")]
    #[case("[remote \"https://u:p@host/x\"]", "url-userinfo")]
    #[case("0123\t\tbranch 'main' of https://u:p@host/x", "url-userinfo")]
    #[case("\textraHeader = Authorization: Basic Y2k6aHVudGVyMg==", "extra-header")]
    #[case("[http \"https://h\"] extraheader=X-Auth: 1", "extra-header")]
    #[case("# Authorization: Bearer abc", "authorization-header")]
    #[case("    AUTHORIZATION:  token abc", "authorization-header")]
    #[case("-----BEGIN OPENSSH PRIVATE KEY-----", "private-key")]
    #[case("key AGE-SECRET-KEY-1QQQ", "private-key")]
    #[case("see glpat-abcdefghij0123456789", "token")]
    #[case("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "token")]
    #[case("\ttoken = hunter2", "named-secret")]
    #[case("[github] password = \"hunter2\"", "named-secret")]
    #[case("Environment=DRONE_RPC_SECRET=hunter2", "named-secret")]
    #[case("\thelper = \"!f() { echo password=hunter2; }; f\"", "named-secret")]
    #[case("\turl = https://git.example.test/x?access_token=hunter2", "named-secret")]
    fn a_credential_is_seen_as_what_it_is(#[case] line: &str, #[case] kind: &str) {
        let found = sightings("clone", ".git/config", &format!("[core]\n{line}\n"));
        let kinds: Vec<_> = found.iter().map(|s| (s.line, s.kind.as_str())).collect();
        assert_eq!(kinds, [(2, kind)], "{line}");
    }

    #[rstest]
    #[case("\turl = https://git.example.test/base.git")]
    #[case("\turl = ssh://git@git.example.test/base.git")]
    #[case("\turl = git@git.example.test:base.git")]
    #[case("\turl = https://ci@git.example.test/base.git")]
    #[case("\turl = ../secrets.git")]
    #[case("\textraHeader =")]
    #[case("[submodule \"secret\"]")]
    #[case("\tpath = secrets/token")]
    #[case("\tsslKey = /etc/keys/client.pem")]
    #[case("Environment=SSH_AUTH_SOCK=/run/ssh.sock")]
    #[case("0123456789abcdef0123456789abcdef01234567\t\tbranch 'main' of https://h/x")]
    #[case("https://example.test/@scope/package")]
    fn what_git_writes_is_no_credential(#[case] line: &str) {
        assert_eq!(sightings("clone", ".git/config", line), []);
    }

    #[rstest]
    #[case("DRONE_RPC_SECRET", "hunter2", true)]
    #[case("AWS_ACCESS_KEY", "abc", true)]
    #[case("APIKEY", "abc", true)]
    #[case("DATABASE", "postgres://ci:hunter2@db/ci", true)]
    #[case("DRONE_RPC_SECRET", "", false)]
    #[case("TOKEN", "/run/secrets/token", false)]
    #[case("TOKEN_FILE", "token", false)]
    #[case("USE_PASSWORD", "false", false)]
    #[case("SORT_KEY", "name", false)]
    #[case("PATH", "/usr/bin", false)]
    fn a_variable_is_judged_by_name_and_value(#[case] name: &str, #[case] value: &str, #[case] credential: bool) {
        assert_eq!(is_credential(name, value), credential);
    }

    proptest::proptest! {
        #[test]
        fn no_text_upsets_it(text in ".*") {
            let _ = sightings("tree", "file", &text);
        }
    }
}
