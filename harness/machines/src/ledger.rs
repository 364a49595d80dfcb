//! The ledger: what every lease holds, on disk before it is acquired.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{containment::Containment, paths::Paths, process::ProcessIdentity, remote::Remote};

/// What one lease holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// The lease's id.
    pub lease: String,
    /// The run that the machine belongs to.
    pub run: String,
    /// The machine's name.
    pub machine: String,
    /// The process that must destroy the machine; `None` when it is kept on purpose.
    pub owner: Option<ProcessIdentity>,
    /// When the lease was taken, in seconds since 1970.
    pub created: u64,
    /// The most memory of this computer's that the machine may take, in bytes; none where it takes none of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// What holds the machine's processes together.
    pub containment: Containment,
    /// What it holds at other programs and servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remotes: Vec<Remote>,
    /// Directories that go with the lease. The first is the lease's own.
    pub directories: Vec<PathBuf>,
}

impl LedgerEntry {
    /// Whether the machine was left running on purpose.
    pub fn is_kept(&self) -> bool {
        self.owner.is_none()
    }

    /// Whether the owner died without destroying the machine.
    pub fn is_orphaned(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| !owner.is_alive())
    }

    /// The lease's own directory.
    pub fn dir(&self) -> &Path {
        self.directories.first().map_or(Path::new(""), PathBuf::as_path)
    }
}

impl From<&Paths> for Ledger {
    fn from(paths: &Paths) -> Self {
        Self::at(&paths.state)
    }
}

/// A directory of ledger entries, and of the leases' own directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    state: PathBuf,
}

impl Ledger {
    /// The ledger below a state directory. Nothing is created yet.
    pub fn at(state: impl Into<PathBuf>) -> Self {
        Self { state: state.into() }
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The directory of the entries.
    pub(crate) fn directory(&self) -> PathBuf {
        self.state.join("ledger")
    }

    /// The file of a lease's entry.
    pub fn entry_path(&self, lease: &str) -> PathBuf {
        self.directory().join(format!("{lease}.json"))
    }

    /// The own directory of a lease.
    pub(crate) fn lease_dir(&self, lease: &str) -> PathBuf {
        self.state.join("leases").join(lease)
    }

    /// Makes the directories. Other users may pass through them to a lease that is theirs (the
    /// machine runs as a user of its own), and cannot list them.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        for (dir, mode) in
            [(self.state.clone(), 0o711), (self.state.join("leases"), 0o711), (self.state.join("ledger"), 0o700)]
        {
            if !dir.is_dir() {
                fs::create_dir_all(&dir)?;
                fs::set_permissions(&dir, Permissions::from_mode(mode))?;
            }
        }
        Ok(())
    }

    /// Writes an entry so that it outlives a crash of the controller: the file and its directory
    /// are synced before this returns, and a reader sees the old entry or the new one.
    pub(crate) fn write(&self, entry: &LedgerEntry) -> io::Result<()> {
        let path = self.entry_path(&entry.lease);
        let draft = draft_of(&path);
        let mut file = File::create(&draft)?;
        serde_json::to_writer_pretty(&mut file, entry)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(self.directory())?.sync_all()
    }

    /// The entry of a lease, `None` when there is none.
    ///
    /// # Errors
    /// When the entry cannot be read or was not written by this program.
    pub fn read(&self, lease: &str) -> io::Result<Option<LedgerEntry>> {
        match fs::read(self.entry_path(lease)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes an entry that may be gone already, or may never have been completed.
    pub(crate) fn remove(&self, lease: &str) -> io::Result<()> {
        let path = self.entry_path(lease);
        for path in [draft_of(&path), path] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Every entry, oldest first.
    ///
    /// # Errors
    /// When the directory or an entry cannot be read; a ledger that was never used is empty.
    pub fn entries(&self) -> io::Result<Vec<LedgerEntry>> {
        let files = match fs::read_dir(self.directory()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let mut entries = Vec::new();
        for file in files {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Some(lease) = path.file_stem().and_then(|stem| stem.to_str())
                // The entry may be removed by its owner while the directory is read.
                && let Some(entry) = self.read(lease).map_err(|error| named(&path, error))?
            {
                entries.push(entry);
            }
        }
        entries.sort_by(|a, b| (a.created, &a.lease).cmp(&(b.created, &b.lease)));
        Ok(entries)
    }

    /// The entry of the machine or lease called `name`.
    ///
    /// # Errors
    /// As [`Ledger::entries`].
    pub fn find(&self, name: &str) -> io::Result<Option<LedgerEntry>> {
        Ok(self.entries()?.into_iter().rev().find(|entry| entry.machine == name || entry.lease == name))
    }
}

fn draft_of(entry: &Path) -> PathBuf {
    entry.with_extension("json.draft")
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(lease: &str, owner: Option<ProcessIdentity>) -> LedgerEntry {
        LedgerEntry {
            lease: lease.into(),
            run: "run".into(),
            machine: format!("machine-{lease}"),
            owner,
            created: 1,
            memory: None,
            containment: Containment::Mark,
            remotes: Vec::new(),
            directories: vec!["/nowhere".into()],
        }
    }

    #[test]
    fn entries_are_read_back_and_removed() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(state.path());
        assert_eq!(ledger.entries().unwrap(), []);
        ledger.prepare().unwrap();
        let (a, b) = (entry("a", None), entry("b", ProcessIdentity::current().ok()));
        ledger.write(&b).unwrap();
        ledger.write(&a).unwrap();
        assert_eq!(ledger.entries().unwrap(), [a.clone(), b.clone()]);
        assert_eq!(ledger.find("machine-b").unwrap(), Some(b));
        ledger.remove("a").unwrap();
        ledger.remove("a").unwrap();
        assert_eq!(ledger.read("a").unwrap(), None);
    }

    #[test]
    fn only_a_dead_owner_makes_an_orphan() {
        let owner = ProcessIdentity::current().unwrap();
        let dead = ProcessIdentity { start_time: owner.start_time + 1, ..owner.clone() };
        assert!(!entry("a", Some(owner)).is_orphaned());
        assert!(entry("b", Some(dead)).is_orphaned());
        assert!(!entry("c", None).is_orphaned() && entry("c", None).is_kept());
    }

    #[test]
    fn an_entry_that_is_not_ours_is_an_error_that_names_the_file() {
        let state = tempfile::tempdir().unwrap();
        let ledger = Ledger::at(state.path());
        ledger.prepare().unwrap();
        fs::write(ledger.entry_path("x"), "{}").unwrap();
        assert!(ledger.entries().unwrap_err().to_string().contains("x.json"));
    }
}
