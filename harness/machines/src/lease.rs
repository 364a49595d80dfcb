//! A lease: what a machine may hold, written down before it holds it.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::{
    containment::Containment,
    launch::{Standing, contained},
    ledger::{Ledger, LedgerEntry},
    mark::Mark,
    process::ProcessIdentity,
    reaper::Reaper,
    receipt::Destroyed,
    remote::Remote,
    undo::undo,
};

/// A lease could not be taken, extended or handed over.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}{remedy}")]
pub struct LeaseError {
    what: String,
    source: io::Error,
    remedy: &'static str,
}

/// What helps where a file or directory is refused.
const WRITABLE: &str = "; see that it may be written to and that its disk is not full, or set COLDPROOF_STATE and \
                        COLDPROOF_RUNTIME to directories on another";

impl LeaseError {
    fn at(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self { what, source, remedy: "" }
    }

    fn writing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self { what, source, remedy: WRITABLE }
    }
}

/// The right to run one machine. Dropping it undoes everything that it holds.
#[derive(Debug)]
pub struct Lease {
    ledger: Ledger,
    entry: LedgerEntry,
    reaper: Reaper,
    released: bool,
}

impl Lease {
    /// Takes a lease for the machine `machine` of the run `run`.
    ///
    /// The order is the point: the reaper, then the ledger entry, and only then the directory
    /// and the control group that the entry names. A process that is killed between any two of
    /// these leaves nothing that the reaper does not know of.
    ///
    /// # Errors
    /// [`LeaseError`] when the ledger cannot be written or this program is no reaper.
    pub fn acquire(ledger: &Ledger, run: &str, machine: &str) -> Result<Self, LeaseError> {
        let state = ledger.state().display();
        ledger.prepare().map_err(LeaseError::writing(format!("preparing the ledger in {state}")))?;
        let id = random_hex::<6>().map_err(LeaseError::at("choosing a lease id"))?;
        let owner = ProcessIdentity::current().map_err(LeaseError::at("reading /proc/self/stat"))?;
        let reaper = Reaper::start(ledger, &id).map_err(LeaseError::writing("starting the reaper"))?;
        let entry = LedgerEntry {
            directories: vec![ledger.lease_dir(&id)],
            lease: id,
            run: run.to_owned(),
            machine: machine.to_owned(),
            owner: Some(owner),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            memory: None,
            containment: Containment::Mark,
            remotes: Vec::new(),
        };
        let mut lease = Self { ledger: ledger.clone(), entry, reaper, released: false };
        lease.contain()?;
        make_private_dir(lease.dir()).map_err(LeaseError::writing(format!("creating {}", lease.dir().display())))?;
        tracing::debug!(lease = lease.id(), machine, containment = ?lease.containment(), "lease taken");
        Ok(lease)
    }

    /// Uses the best containment that can be made here, and writes each to the ledger first.
    fn contain(&mut self) -> Result<(), LeaseError> {
        for candidate in Containment::candidates(&self.entry.lease) {
            self.entry.containment = candidate;
            self.record()?;
            match self.entry.containment.create() {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!(%error, containment = ?self.entry.containment, "not usable"),
            }
        }
        Ok(())
    }

    fn record(&self) -> Result<(), LeaseError> {
        self.ledger.write(&self.entry).map_err(LeaseError::writing("writing the ledger entry"))
    }

    /// How to take another lease in the same ledger and run, also after this one is used up.
    pub(crate) fn successor(&self) -> Successor {
        Successor { ledger: self.ledger.clone(), run: self.entry.run.clone(), memory: self.entry.memory }
    }

    /// The lease's id.
    pub fn id(&self) -> &str {
        &self.entry.lease
    }

    /// The run that the machine belongs to.
    pub fn run(&self) -> &str {
        &self.entry.run
    }

    /// The name of the machine.
    pub fn machine(&self) -> &str {
        &self.entry.machine
    }

    /// The lease's own directory, for disks, sockets and logs.
    pub fn dir(&self) -> &Path {
        self.entry.dir()
    }

    /// Every directory that goes with the lease.
    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.entry.directories
    }

    /// A command that runs `program` as one of the lease's processes. Its environment is empty
    /// but for a `PATH`.
    pub fn command(&self, program: &Path) -> Command {
        contained(self, Standing::default(), program)
    }

    /// The mark of the lease's processes, for those that [`command`](Self::command) is not for.
    pub fn mark(&self) -> Mark {
        Mark::of(self.id())
    }

    /// What holds the machine's processes together.
    pub fn containment(&self) -> &Containment {
        &self.entry.containment
    }

    /// Creates another private directory that goes with the lease.
    ///
    /// # Errors
    /// [`LeaseError`] when the ledger or the directory cannot be written.
    pub fn add_directory(&mut self, path: PathBuf) -> Result<(), LeaseError> {
        let what = format!("creating {}", path.display());
        self.entry.directories.push(path.clone());
        self.record()?;
        make_private_dir(&path).map_err(LeaseError::writing(what))
    }

    /// Writes down how much of this computer's memory the machine may take.
    pub(crate) fn grant(&mut self, memory: u64) -> Result<(), LeaseError> {
        self.entry.memory = Some(memory);
        self.record()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes down that the lease holds `remote`, which is made only afterwards.
    ///
    /// # Errors
    /// [`LeaseError`] when the ledger cannot be written.
    pub fn add_remote(&mut self, remote: Remote) -> Result<(), LeaseError> {
        self.entry.remotes.push(remote);
        self.record()
    }

    /// Removes everything the lease holds and says what is gone.
    pub fn release(mut self) -> Destroyed {
        self.undo()
    }

    /// Hands the lease over to nobody: what it holds stays, and the ledger says so.
    ///
    /// # Errors
    /// [`LeaseError`] when the ledger cannot be written; the lease is then undone.
    pub fn keep(mut self) -> Result<String, LeaseError> {
        self.entry.owner = None;
        self.record()?;
        self.released = true;
        // The entry has no owner any more, so the reaper leaves it alone.
        self.reaper.dismiss();
        Ok(self.entry.lease.clone())
    }

    fn undo(&mut self) -> Destroyed {
        let receipt = undo(&self.ledger, &self.entry);
        self.released = true;
        self.reaper.dismiss();
        receipt
    }
}

/// What a lease leaves to those that come after it.
#[derive(Debug, Clone)]
pub(crate) struct Successor {
    ledger: Ledger,
    run: String,
    memory: Option<u64>,
}

impl Successor {
    pub(crate) fn acquire(&self, machine: &str) -> Result<Lease, LeaseError> {
        Lease::acquire(&self.ledger, &self.run, machine)
    }

    /// A lease that takes the place of the one before, and its memory.
    pub(crate) fn succeed(&self, machine: &str) -> Result<Lease, LeaseError> {
        let mut lease = self.acquire(machine)?;
        if let Some(memory) = self.memory {
            lease.grant(memory)?;
        }
        Ok(lease)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.released {
            // Nobody else sees this receipt.
            let receipt = self.undo();
            if receipt.is_clean() {
                tracing::debug!(%receipt, "lease dropped");
            } else {
                tracing::warn!(%receipt, "not all of a machine could be removed");
            }
        }
    }
}

/// Twice as many hex digits as bytes are drawn.
pub(crate) fn random_hex<const BYTES: usize>() -> io::Result<String> {
    let mut bytes = [0; BYTES];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(hex::encode(bytes))
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(path)
}
