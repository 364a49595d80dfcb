//! The forms in which programs write a value down.

use std::fmt::{self, Write as _};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, Engine as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// As it is.
    Plain,
    /// Base64 (RFC 4648 section 4), whatever stands before and after it in what was encoded.
    Base64,
    /// Base64 with the alphabet for URLs and file names (RFC 4648 section 5), likewise.
    Base64Url,
    /// Two hexadecimal digits a byte.
    Hex,
    /// Percent-encoded (RFC 3986) or as a form field.
    Url,
    /// Inside a JSON string (RFC 8259).
    Json,
    /// Inside quotes of a shell, or escaped for it.
    Shell,
    /// In a systemd unit.
    Unit,
    /// Inside a string of the Nix language.
    Nix,
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Hex => "hex",
            Self::Url => "URL escapes",
            Self::Json => "JSON escapes",
            Self::Shell => "shell escapes",
            Self::Unit => "unit file escapes",
            Self::Nix => "Nix escapes",
        })
    }
}

type Text = Zeroizing<String>;

/// Every form of `value` that is looked for, the plain one first. Forms that are equal to another occur more than once.
pub fn forms(value: &str) -> Vec<(Encoding, Text)> {
    let mut forms = vec![(Encoding::Plain, Zeroizing::new(value.to_owned()))];
    let mut add = |encoding, texts: Vec<Text>| forms.extend(texts.into_iter().map(|text| (encoding, text)));
    let hex = Zeroizing::new(hex::encode(value));
    let upper = Zeroizing::new(hex.to_uppercase());
    add(Encoding::Json, json(value));
    add(Encoding::Shell, shell(value));
    add(Encoding::Unit, vec![unit(value)]);
    add(Encoding::Nix, vec![nix(value)]);
    add(Encoding::Url, url(value));
    add(Encoding::Base64, (0..3).map(|offset| base64_at(&BASE64_STANDARD, value, offset)).collect());
    add(Encoding::Base64Url, (0..3).map(|offset| base64_at(&BASE64_URL_SAFE, value, offset)).collect());
    add(Encoding::Hex, vec![hex, upper]);
    forms
}

/// The digits that depend on `value` alone when `offset` bytes of a group of three stand before it.
fn base64_at(engine: &base64::engine::GeneralPurpose, value: &str, offset: usize) -> Text {
    let padded = Zeroizing::new([&[0; 2][..offset], value.as_bytes()].concat());
    let digits = Zeroizing::new(engine.encode(&*padded));
    let (first, last) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
    Zeroizing::new(digits[first..last].to_owned())
}

/// JSON as serialisers write it: only what must be escaped; ASCII alone; also what HTML minds; also slashes.
fn json(value: &str) -> Vec<Text> {
    let quoted = Zeroizing::new(serde_json::Value::from(value).to_string());
    let plain = &quoted[1..quoted.len() - 1];
    let html = |c| "<>&".contains(c);
    let not_ascii = |c: char| !c.is_ascii();
    let slashes = Zeroizing::new(plain.replace('/', "\\/"));
    vec![
        Zeroizing::new(plain.to_owned()),
        utf16_escaped(plain, not_ascii),
        utf16_escaped(plain, html),
        utf16_escaped(&slashes, not_ascii),
        slashes,
    ]
}

fn utf16_escaped(text: &str, escaped: impl Fn(char) -> bool) -> Text {
    mapped(text, |c, out| {
        if escaped(c) {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write_to(out, format_args!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    })
}

fn shell(value: &str) -> Vec<Text> {
    let before = |special: &'static str| {
        mapped(value, move |c, out| {
            if special.contains(c) {
                out.push('\\');
            }
            out.push(c);
        })
    };
    vec![
        Zeroizing::new(value.replace('\'', r"'\''")),
        Zeroizing::new(value.replace('\'', r#"'"'"'"#)),
        before("\"$`\\"),
        before(" \t!\"#$&'()*,;<>?[\\]^`{|}~"),
        ansi_c(value),
    ]
}

/// Bash's `$'…'`, as `printf %q` writes it in the C locale.
fn ansi_c(value: &str) -> Text {
    mapped(value, |c, out| match c {
        '\n' => out.push_str("\\n"),
        '\t' => out.push_str("\\t"),
        '\r' => out.push_str("\\r"),
        '\'' | '\\' => out.extend(['\\', c]),
        ' '..='~' => out.push(c),
        _ => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| write_to(out, format_args!("\\{byte:03o}"))),
    })
}

/// See systemd.syntax(7) and the specifiers of systemd.unit(5).
fn unit(value: &str) -> Text {
    mapped(value, |c, out| match c {
        '%' => out.push_str("%%"),
        '"' | '\\' => out.extend(['\\', c]),
        '\n' => out.push_str("\\n"),
        _ => out.push(c),
    })
}

fn nix(value: &str) -> Text {
    let escaped = mapped(value, |c, out| match c {
        '"' | '\\' => out.extend(['\\', c]),
        '\n' => out.push_str("\\n"),
        _ => out.push(c),
    });
    Zeroizing::new(escaped.replace("${", "\\${"))
}

/// What must be escaped, what browsers escape, and what leaves a path a path; digits in both cases; a form field.
fn url(value: &str) -> Vec<Text> {
    let mut texts = Vec::new();
    for kept in ["-._~", "-._~!'()*", "-._~/"] {
        let upper = percent(value, kept);
        texts.push(mapped_escapes_lower(&upper));
        texts.push(upper);
    }
    let form = percent(value, "-._*");
    texts.push(Zeroizing::new(form.replace("%20", "+")));
    texts
}

fn percent(value: &str, kept: &str) -> Text {
    mapped(value, |c, out| {
        if c.is_ascii_alphanumeric() || kept.contains(c) {
            out.push(c);
        } else {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| write_to(out, format_args!("%{byte:02X}")));
        }
    })
}

fn mapped_escapes_lower(text: &str) -> Text {
    let mut digits = 0;
    mapped(text, |c, out| {
        out.push(if digits > 0 { c.to_ascii_lowercase() } else { c });
        digits = if c == '%' { 2_u8 } else { digits.saturating_sub(1) };
    })
}

/// Builds a text character by character, with room for the longest escapes from the start: growing would leave
/// unwiped copies behind.
fn mapped(text: &str, mut map: impl FnMut(char, &mut String)) -> Text {
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 6));
    text.chars().for_each(|c| map(c, &mut out));
    out
}

fn write_to(out: &mut String, text: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Encoding::Json, r#"a \"b\" <é>\n"#)]
    #[case(Encoding::Json, r#"a \"b\" <\u00e9>\n"#)]
    #[case(Encoding::Json, r#"a \"b\" \u003cé\u003e\n"#)]
    #[case(Encoding::Shell, r#"a "b" <\303\251>\n"#)]
    #[case(Encoding::Shell, "a\\ \\\"b\\\"\\ \\<é\\>\n")]
    #[case(Encoding::Url, "a%20%22b%22%20%3C%C3%A9%3E%0A")]
    #[case(Encoding::Url, "a%20%22b%22%20%3c%c3%a9%3e%0a")]
    #[case(Encoding::Url, "a+%22b%22+%3C%C3%A9%3E%0A")]
    #[case(Encoding::Hex, "6120226222203cc3a93e0a")]
    #[case(Encoding::Hex, "6120226222203CC3A93E0A")]
    #[case(Encoding::Base64, "YSAiYiIgPMOpPg")]
    fn a_value_has_this_form(#[case] encoding: Encoding, #[case] form: &str) {
        let forms = forms("a \"b\" <é>\n");
        let texts: Vec<_> = forms.iter().filter(|(of, _)| *of == encoding).map(|(_, text)| text.as_str()).collect();
        assert!(texts.contains(&form), "{texts:?}");
    }

    #[rstest]
    fn base64_of_anything_around_the_value_holds_one_form(
        #[values("", "x", "xy", "xyz")] before: &str,
        #[values("", "z", "zz")] after: &str,
    ) {
        let all = BASE64_STANDARD.encode(format!("{before}sesame12{after}"));
        let forms = forms("sesame12");
        let mut base64 = forms.iter().filter(|(encoding, _)| *encoding == Encoding::Base64);
        assert!(base64.any(|(_, form)| all.contains(form.as_str())), "{all}");
    }
}
