//! Writing to the standard streams. Whoever reads them may have gone away, which ends no run and changes no verdict.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result};

/// Prints a result, and a line's end, to stdout.
///
/// # Errors
/// When it cannot be written though somebody still reads: a full disk would otherwise look like an empty result.
pub(crate) fn result(text: impl Display) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("writing to standard output"),
        _ => Ok(()),
    }
}

/// Tells a person something, on stderr.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
