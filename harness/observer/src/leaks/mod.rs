//! Known secrets, looked for wherever a guest keeps things. What was found leaves the guest; values never do.

mod files;
mod processes;
mod programs;
mod protect;
mod report;
mod surface;

use std::{collections::BTreeMap, mem, path::Path};

use anyhow::Context as _;
use coldproof_evidence::leaks::LeaksObservation;
use coldproof_leaks::{LeaksRequest, Matcher, Secret};

use self::report::Report;

/// What all parts of the search share.
struct Search<'r> {
    matcher: Matcher,
    report: &'r Report,
    /// What is looked through as if it were the whole file system; `/` but in tests.
    root: &'r Path,
}

/// Looks through the whole guest.
pub(crate) fn observe(mut request: LeaksRequest) -> anyhow::Result<LeaksObservation> {
    protect::from_dumps_and_swap()?;
    let matcher = Matcher::new(&request.secrets).context("making a matcher of the secrets")?;
    let report = Report::new(names(&request.secrets), own_files(&request.secrets));
    // The matcher has all that is needed of them; dropping wipes the values.
    drop(mem::take(&mut request.secrets));
    let search = Search { matcher, report: &report, root: Path::new("/") };
    // Processes first: those that this search starts itself say nothing about the host.
    processes::look_through(&search);
    let packs = files::look_through(&search);
    programs::journal(&search);
    packs.iter().for_each(|repository| programs::git_objects(&search, repository));
    let (searched, unscannable) = (search.matcher.searched().to_vec(), search.matcher.unscannable().to_vec());
    Ok(LeaksObservation { searched, unscannable, ..report.into_observation() })
}

fn names(secrets: &[Secret]) -> Vec<String> {
    secrets.iter().map(|secret| secret.name.clone()).collect()
}

/// Which secrets each file is meant to hold, by its identity: a copy of the file is another one.
fn own_files(secrets: &[Secret]) -> BTreeMap<files::Inode, Vec<usize>> {
    let mut own: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (index, secret) in secrets.iter().enumerate() {
        for inode in secret.files.iter().filter_map(|path| files::Inode::of(path)) {
            own.entry(inode).or_default().push(index);
        }
    }
    own
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;
