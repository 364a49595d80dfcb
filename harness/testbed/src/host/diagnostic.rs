//! Errors in a host definition: what is wrong, where, and what to do about it.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
};

use coldproof_evidence::credentials::sightings;

use super::{explain::explain, values::ValueError};

/// Why there is no host definition.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The file cannot be read.
    #[error(
        "cannot read host definition {path}: {source}\n  = remedy: name the file with `--host`; `coldproof reference DIR` writes one to start from"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in it is wrong.
    #[error(transparent)]
    Invalid(Box<Diagnostic>),
}

/// One error, shown with the line that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line, without anything in it that may be a secret.
    excerpt: String,
    /// How many characters are meant.
    width: usize,
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { problem, remedy, line, column, excerpt, .. } = self;
        let margin = " ".repeat(line.to_string().len());
        // Tabs are kept, so that the carets stand below what they mean.
        let indent: String = excerpt.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
        writeln!(f, "{problem}")?;
        writeln!(f, "{margin}--> {}:{line}:{column}", self.file.display())?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{line} | {excerpt}")?;
        writeln!(f, "{margin} | {indent}{}", "^".repeat(self.width))?;
        write!(f, "{margin} = remedy: {remedy}")
    }
}

/// The text of a host definition, which errors point into.
pub(super) struct Document<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Document<'_> {
    /// An error about the bytes in `span`.
    pub(super) fn error(&self, span: Range<usize>, problem: impl Into<String>, remedy: impl Into<String>) -> HostError {
        let start = self.char_boundary(span.start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let rest = &self.text[line_start..];
        let whole = rest.lines().next().unwrap_or_default();
        let column = self.text[line_start..start].chars().count();
        let meant = self.char_boundary(span.end.min(line_start + whole.len()));
        let width = self.text.get(start..meant).map_or(1, |text| text.chars().count().max(1));
        let (excerpt, masked) = mask(whole);
        HostError::Invalid(Box::new(Diagnostic {
            problem: problem.into(),
            remedy: remedy.into(),
            file: self.file.to_owned(),
            line: self.text[..line_start].matches('\n').count() + 1,
            // Columns of a masked line would no longer fit: its beginning stands for all of it.
            column: if masked { 1 } else { column + 1 },
            width: if masked { excerpt.chars().count().max(1) } else { width },
            excerpt,
        }))
    }

    /// An error about the value in `span` that could not be parsed.
    pub(super) fn invalid(&self, span: Range<usize>, error: ValueError) -> HostError {
        self.error(span, error.problem, error.remedy)
    }

    /// What the TOML parser or serde said.
    pub(super) fn malformed(&self, error: &toml::de::Error) -> HostError {
        let (problem, remedy) = explain(error.message());
        self.error(error.span().unwrap_or(0..0), problem, remedy)
    }

    fn char_boundary(&self, at: usize) -> usize {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }
}

/// Hides what is in quotes where a secret may have been written by mistake, and says whether it did.
fn mask(line: &str) -> (String, bool) {
    let names_a_key = ["credentials", "key", "private-key"]
        .iter()
        .any(|name| line.split(['{', ',', '=']).any(|part| part.trim().trim_matches('"') == *name));
    if !names_a_key && sightings("", "", line).is_empty() {
        return (line.to_owned(), false);
    }
    let Some(first) = line.find(['"', '\'']) else {
        return (line.to_owned(), false);
    };
    (format!("{}\"…\"", &line[..first]), true)
}
