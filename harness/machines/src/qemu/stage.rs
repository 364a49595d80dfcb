//! The stage `blank`: a machine that has booted and holds nothing of any host, saved so that
//! others fork from it in a fraction of a second.
//!
//! It is made of three files: `ram`, which forks map privately, `state` (QEMU's devices), and
//! `disk.qcow2`, on which forks have overlays. It is the only stage that is ever kept: a RAM
//! file of anything later holds keys. Such a stage, `switched`, has the same files in a private
//! directory in RAM, for one user, and ends with whoever made it.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    command_line::{CommandLine, Memory},
    console::PRELUDE,
    process::Process,
    qmp::{Qmp, QmpError},
};
use crate::{
    deadline::Deadline,
    guest::{GuestCommand, SETTLE},
    image::mark_used,
    lease::random_hex,
    provider::{BootImage, MachineSpec, ProvisionError},
};

/// How long another process may hold the lock, building the same stage.
const LOCK_LIMIT: Duration = Duration::from_secs(300);
/// Saving and restoring take well under a second.
const MIGRATION_LIMIT: Duration = Duration::from_secs(60);

/// A saved stage, or the place for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    dir: PathBuf,
    fingerprint: String,
}

impl Stage {
    /// The stage for machines like `spec`, beside their image.
    ///
    /// Its name holds everything that the saved state depends on, so a stage that does not fit
    /// is simply not found.
    pub(super) fn of(
        spec: &MachineSpec,
        image: &BootImage,
        qemu_version: &str,
        acceleration: &str,
        warm_up: &[GuestCommand],
    ) -> io::Result<Self> {
        // The saved shell knows the prelude, and the saved guest has settled as the script says.
        let mut parts = [qemu_version, acceleration, &image.key, PRELUDE, SETTLE].map(str::to_owned).to_vec();
        parts.extend([spec.memory.to_string(), spec.cpus.to_string(), spec.disk.to_string()]);
        parts.extend(CommandLine::example(spec).arguments());
        for path in [&image.root, &image.kernel, &image.initrd] {
            let data = fs::metadata(path)?;
            parts.push(format!("{} {}.{}", data.len(), data.mtime(), data.mtime_nsec()));
        }
        parts.extend(warm_up.iter().flat_map(|command| command.argv.clone()));
        let digest = Sha256::digest(json!(parts).to_string());
        let fingerprint = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>();
        let images = image.root.parent().unwrap_or(Path::new("/"));
        Ok(Self { dir: images.join(format!("blank-{fingerprint}")), fingerprint })
    }

    /// The stage `switched` in its private directory.
    pub(super) fn switched(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), fingerprint: "switched".to_owned() }
    }

    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) fn exists(&self) -> bool {
        self.dir.is_dir()
    }

    pub(super) fn ram(&self) -> PathBuf {
        ram(&self.dir)
    }

    pub(super) fn disk(&self) -> PathBuf {
        disk(&self.dir)
    }

    /// Where the lease `lease` builds it, on the same file system.
    pub(super) fn draft(&self, lease: &str) -> PathBuf {
        self.dir.with_file_name(format!(".blank-{}.{lease}", self.fingerprint))
    }

    /// Waits until no other process builds or deletes this stage. The kernel drops the lock of
    /// a process that dies.
    pub(super) async fn lock(&self, deadline: Deadline) -> io::Result<File> {
        let file = File::options().create(true).truncate(false).write(true).open(self.dir.with_extension("lock"))?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // Not the runtime's blocking pool: a runtime waits for that before it ends.
        std::thread::spawn(move || {
            let locked = flock(&file, FlockOperation::LockExclusive).map(|()| file);
            drop(sender.send(locked));
        });
        match deadline.at_most(LOCK_LIMIT).bound(receiver).await {
            Ok(Ok(locked)) => Ok(locked?),
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds the stage's lock")),
        }
    }

    /// Says that it is used now, so that it is not pruned.
    pub(super) fn mark_used(&self) {
        if let Ok(lock) = File::options().append(true).open(self.dir.with_extension("lock")) {
            mark_used(&lock);
        }
    }

    /// Saves the machine `process` into `draft`, ends it, and publishes the draft.
    pub(super) async fn save(&self, process: &mut Process, draft: &Path) -> Result<(), ProvisionError> {
        save_into(draft, process).await?;
        publish(draft, &self.dir).map_err(ProvisionError::io(format!("publishing {}", self.dir.display())))
    }

    /// Loads the devices of the stage into `qmp`'s machine, whose memory is a fork of it, and
    /// lets it run.
    pub(super) async fn restore(&self, qmp: &mut Qmp) -> Result<(), ProvisionError> {
        let restored = Deadline::after(MIGRATION_LIMIT).bound(restore(qmp, &state(&self.dir))).await;
        migrated(restored, "restoring the stage")
    }

    /// Deletes a stage that does not work. Machines that were forked from it keep their files open.
    pub(super) async fn delete(&self, deadline: Deadline) -> io::Result<()> {
        let _lock = self.lock(deadline).await?;
        fs::remove_dir_all(&self.dir)
    }
}

/// Saves the machine `process`, whose memory and disk are in `dir` already, and ends it.
pub(super) async fn save_into(dir: &Path, process: &mut Process) -> Result<(), ProvisionError> {
    let saved = Deadline::after(MIGRATION_LIMIT).bound(save(&mut process.qmp, &state(dir))).await;
    migrated(saved, "saving the stage")?;
    process.wait().await.map_err(ProvisionError::io("waiting for QEMU to end"))
}

pub(super) fn ram(dir: &Path) -> PathBuf {
    dir.join("ram")
}

pub(super) fn disk(dir: &Path) -> PathBuf {
    dir.join("disk.qcow2")
}

fn state(dir: &Path) -> PathBuf {
    dir.join("state")
}

/// `x-ignore-shared`: memory that lives in a file of its own is not written a second time.
async fn set_capabilities(qmp: &mut Qmp) -> Result<(), QmpError> {
    let enabled = ["x-ignore-shared", "events"].map(|name| json!({ "capability": name, "state": true }));
    qmp.execute("migrate-set-capabilities", json!({ "capabilities": enabled })).await.map(drop)
}

async fn save(qmp: &mut Qmp, state: &Path) -> Result<(), QmpError> {
    qmp.execute("stop", json!({})).await?;
    set_capabilities(qmp).await?;
    qmp.clear_events();
    qmp.execute("migrate", json!({ "uri": format!("file:{}", state.display()) })).await?;
    wait_for_migration(qmp).await?;
    qmp.execute("quit", json!({})).await.map(drop)
}

async fn restore(qmp: &mut Qmp, state: &Path) -> Result<(), QmpError> {
    set_capabilities(qmp).await?;
    qmp.clear_events();
    qmp.execute("migrate-incoming", json!({ "uri": format!("file:{}", state.display()) })).await?;
    wait_for_migration(qmp).await?;
    qmp.execute("cont", json!({})).await.map(drop)
}

async fn wait_for_migration(qmp: &mut Qmp) -> Result<(), QmpError> {
    let ended = |status: &str| matches!(status, "completed" | "failed");
    let data = qmp.event(|name, data| name == "MIGRATION" && data["status"].as_str().is_some_and(ended)).await?;
    if data["status"] == "completed" {
        return Ok(());
    }
    let described = qmp.execute("query-migrate", json!({})).await?;
    let reason = described["error-desc"].as_str().unwrap_or("no reason given").to_owned();
    Err(QmpError::Refused { command: "migrate".to_owned(), reason })
}

fn migrated<E: std::fmt::Display>(result: Result<Result<(), QmpError>, E>, what: &str) -> Result<(), ProvisionError> {
    let reason = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(late) => late.to_string(),
    };
    Err(ProvisionError::Start { reason: format!("{what}: {reason}") })
}

/// Gives the files to everybody to read, as every fork has a user of its own, and renames the
/// directory into place. They are synced first: a stage that a crash left half written would
/// look complete.
fn publish(draft: &Path, dir: &Path) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for (path, mode) in [(ram(draft), 0o444), (state(draft), 0o444), (disk(draft), 0o444), (draft.to_owned(), 0o755)] {
        chown(&path, Some(uid), Some(gid))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
        File::open(&path)?.sync_all()?;
    }
    fs::rename(draft, dir)
}

/// The command by which a fork stops being the machine that was saved: its clock, which stood still since, and its
/// machine-id, by which else two forks would be one machine to whatever reads it (machine-id(5)).
///
/// A stage has no host keys of sshd but those that its host was given, and every machine has a network to itself, where
/// QEMU gives all of them the same MAC address, booted or forked.
///
/// # Errors
/// When there is nothing random to be had.
pub(super) fn become_another() -> io::Result<GuestCommand> {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default();
    let clock = format!("@{}.{:03}", now.as_secs(), now.subsec_millis());
    let machine_id = random_hex::<16>()?;
    Ok(GuestCommand::new(["bash".into(), "-euc".into(), BECOME_ANOTHER.into(), "fork".into(), clock, machine_id]))
}

/// journald goes on in the directory that it named after the machine-id when it started; the link spares a restart of it.
const BECOME_ANOTHER: &str = "
date --set=\"$1\" >/dev/null
read -r saved </etc/machine-id
echo \"$2\" >/etc/machine-id
for journal in /run/log/journal /var/log/journal; do
  [[ ! -d $journal/$saved ]] || ln -s \"$saved\" \"$journal/$2\"
done
";

impl CommandLine {
    /// The command line of a template, with names that do not change, to tell apart versions of it.
    fn example(spec: &MachineSpec) -> Self {
        Self {
            acceleration: super::command_line::Acceleration::Tcg,
            memory_size: spec.memory,
            memory: Memory::Template("ram".into()),
            cpus: spec.cpus,
            image: spec.image.clone(),
            disk: "disk".into(),
            console_log: "console".into(),
            packet_capture: "capture".into(),
            firmware_variables: "variables".into(),
            relays: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Origin, Priority};

    fn image(dir: &Path) -> BootImage {
        for name in ["root.raw", "vmlinux", "initrd"] {
            fs::write(dir.join(name), name).unwrap();
        }
        BootImage {
            root: dir.join("root.raw"),
            kernel: dir.join("vmlinux"),
            initrd: dir.join("initrd"),
            archive: dir.join("root.tar.zst"),
            key: "k".into(),
        }
    }

    fn spec(image: BootImage) -> MachineSpec {
        MachineSpec {
            name: "m".into(),
            memory: 1 << 30,
            cpus: 1,
            disk: 1 << 30,
            forwards: vec![],
            guest_services: vec![],
            origin: Origin::Blank,
            image: image.into(),
            priority: Priority::Normal,
        }
    }

    #[test]
    fn a_stage_is_told_apart_by_what_it_depends_on_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let image = image(dir.path());
        let spec = spec(image.clone());
        let stage = |spec: &MachineSpec, version: &str| Stage::of(spec, &image, version, "tcg", &[]).unwrap();
        let base = stage(&spec, "10.0");
        assert_eq!(base, stage(&MachineSpec { name: "other".into(), forwards: vec![80], ..spec.clone() }, "10.0"));
        assert_ne!(base, stage(&spec, "10.1"));
        assert_ne!(base, stage(&MachineSpec { memory: 2 << 30, ..spec.clone() }, "10.0"));
        assert_ne!(base, stage(&MachineSpec { cpus: 2, ..spec.clone() }, "10.0"));
        fs::write(dir.path().join("initrd"), "another initrd").unwrap();
        assert_ne!(base, stage(&spec, "10.0"));
    }
}
