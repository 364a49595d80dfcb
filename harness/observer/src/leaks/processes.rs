//! Every process' arguments and environment.

use std::{fs, path::Path};

use zeroize::Zeroizing;

use super::{Search, surface};

pub(super) fn look_through(search: &Search<'_>) {
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(id) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let directory = process.path();
        let name = fs::read_to_string(directory.join("comm")).unwrap_or_default();
        let place = format!("process {id} ({})", name.trim());
        look_at(search, surface::ARGUMENTS, &place, &directory.join("cmdline"));
        look_at(search, surface::ENVIRONMENTS, &place, &directory.join("environ"));
    }
}

/// A process may end while it is looked at; then there is nothing to be seen any more.
fn look_at(search: &Search<'_>, surface: &str, place: &str, file: &Path) {
    let Ok(bytes) = fs::read(file).map(Zeroizing::new) else { return };
    let mut scanner = search.matcher.scanner();
    scanner.push(&bytes);
    search.report.looked(surface, place, bytes.len() as u64, &scanner.finish(), None);
}
