//! What the TOML parser and serde say, in the words of a host definition and with a remedy.

use super::values::REMEDY;

const REFERENCE: &str = "docs/host-definition.md lists every key with an example";

/// Sections that every host definition has.
const SECTIONS: &[&str] = &["host", "source", "bootstrap"];

/// Splits `message` into problem and remedy.
pub(super) fn explain(message: &str) -> (String, String) {
    if let Some((problem, remedy)) = message.split_once(REMEDY) {
        return (problem.to_owned(), remedy.to_owned());
    }
    let quoted = quoted(message);
    let (found, known) = quoted.split_first().map_or(("", &[][..]), |(found, known)| (*found, known));
    if message.starts_with("unknown field") {
        return (format!("unknown key `{found}`"), suggest(found, known, "the keys here are"));
    }
    if message.starts_with("unknown variant") {
        return (format!("`{found}` is not among the choices"), suggest(found, known, "write one of"));
    }
    if message.starts_with("missing field") && SECTIONS.contains(&found) {
        return (format!("the section [{found}] is missing"), format!("add `[{found}]` with its keys; {REFERENCE}"));
    }
    if message.starts_with("missing field") {
        return (format!("the key `{found}` is missing"), format!("add `{found} = …`; {REFERENCE}"));
    }
    if let Some((got, expected)) = message.strip_prefix("invalid type: ").and_then(|m| m.split_once(", expected ")) {
        let remedy = match (got.starts_with("string"), expected) {
            (false, "a string") => "put the value in quotes".to_owned(),
            _ => format!("write {expected}; {REFERENCE}"),
        };
        return (format!("expected {expected}, found {got}"), remedy);
    }
    if message.starts_with("duplicate key") {
        return (message.to_owned(), "give each key once and each table one header".to_owned());
    }
    (format!("this is not TOML: {message}"), format!("mend the line; {REFERENCE}"))
}

fn suggest(found: &str, known: &[&str], otherwise: &str) -> String {
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3);
    match nearest {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("{otherwise} {}", known.join(", ")),
    }
}

/// Everything that stands between backticks.
fn quoted(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}
