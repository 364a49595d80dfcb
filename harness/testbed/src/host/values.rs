//! The values that a host definition is written with, each a type of its own: once parsed, a value is valid.

use std::{fmt, time::Duration};

use serde::Deserialize;

/// Separates problem from remedy in a [`ValueError`] that travels through serde as one text.
pub(super) const REMEDY: &str = "\nremedy: ";

/// Why a text is not the value that it should be, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}{REMEDY}{remedy}")]
pub struct ValueError {
    /// What is wrong.
    pub problem: String,
    /// What to write.
    pub remedy: String,
}

impl ValueError {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

/// Declares a text that was checked once, by `$check`.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                let check: fn(&str) -> Result<(), ValueError> = $check;
                check(&text).map(|()| Self(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(super) use checked_text;

/// A span of time greater than zero, written as `10m` or `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(Duration);

impl Span {
    /// Whole minutes.
    pub(super) const fn minutes(minutes: u64) -> Self {
        Self(Duration::from_secs(minutes * 60))
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl TryFrom<String> for Span {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let remedy = "write a number and a unit, for instance \"90s\", \"10m\" or \"1h 30m\"";
        match humantime::parse_duration(&text) {
            Ok(duration) if duration.is_zero() => Err(ValueError::new("no time at all", remedy)),
            Ok(duration) => Ok(Self(duration)),
            Err(error) => Err(ValueError::new(format!("`{text}` is no duration: {error}"), remedy)),
        }
    }
}

/// A number of bytes greater than zero, written with its unit: `2GiB`, `512MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(u64);

impl Size {
    /// Whole GiB.
    pub(super) const fn gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl From<Size> for u64 {
    fn from(size: Size) -> Self {
        size.0
    }
}

impl TryFrom<String> for Size {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let remedy = "write a number and a unit, for instance \"512MiB\" or \"2GiB\"";
        let unit_missing = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        match text.parse::<bytesize::ByteSize>() {
            Ok(size) if size.0 > 0 && !unit_missing => Ok(Self(size.0)),
            Ok(_) if unit_missing => Err(ValueError::new(format!("`{text}` has no unit"), remedy)),
            Ok(_) => Err(ValueError::new(format!("`{text}` is nothing"), remedy)),
            Err(_) => Err(ValueError::new(format!("`{text}` is no size"), remedy)),
        }
    }
}

/// Permission bits of a file, written in octal: `0400`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct FileMode(u32);

impl FileMode {
    /// The bits, for instance `0o400`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<String> for FileMode {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if octal => Ok(Self(bits)),
            _ => Err(ValueError::new(
                format!("`{text}` is no file mode"),
                "write three or four octal digits in quotes, for instance \"0400\"",
            )),
        }
    }
}

checked_text!(
    /// The name of a host, attribute, recipient, secret, service or fault: letters, digits, `.`, `_` and `-`.
    Name,
    |text| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !text.is_empty() && !text.starts_with(['-', '.']) && text.chars().all(fits) {
            return Ok(());
        }
        Err(ValueError::new(
            format!("`{text}` is no name"),
            "use letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
        ))
    }
);

checked_text!(
    /// One program, by name or path, without arguments.
    Program,
    |text| {
        if !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_whitespace) {
            return Ok(());
        }
        Err(ValueError::new(
            format!("`{text}` is not one program"),
            "name the program alone, without arguments, for instance \"nixos-rebuild\"",
        ))
    }
);

checked_text!(
    /// The name of a Debian package (Debian Policy 5.6.1).
    PackageName,
    |text| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        // apt takes `NAME-` for the wish to remove NAME.
        if text.len() >= 2 && begins && text.chars().all(fits) && !text.ends_with('-') {
            return Ok(());
        }
        Err(ValueError::new(
            format!("`{text}` is no Debian package"),
            "write its name alone, in lower case and without a version, for instance \"docker.io\"",
        ))
    }
);

checked_text!(
    /// The name of an environment variable of the controller.
    VariableName,
    |text| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(fits) {
            return Ok(());
        }
        // The text is not repeated: it may be the credential that somebody wrote instead of a name.
        Err(ValueError::new(
            "this is no name of an environment variable",
            "put the credential into a variable and write the variable's name here, never the credential itself",
        ))
    }
);

impl Name {
    /// The user and the group that own what nobody else is named for.
    pub(super) fn root() -> Self {
        Self("root".to_owned())
    }
}

impl Default for Program {
    fn default() -> Self {
        Self("nixos-rebuild".to_owned())
    }
}
