//! From a lease to a receipt.

use std::{
    ffi::CString,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use coldproof_machines::{
    guest::{Guest, GuestCommand, TransportError},
    process::ProcessIdentity,
    provider::{BootError, BootImage, MachineSize, MachineSpec, Origin, Provider, Start},
    qemu::attach,
    reaper::{ReapScope, reap},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::bench::{Bench, Owner, memory, soon, within};

pub(crate) async fn cold_boot(bench: Bench) -> anyhow::Result<()> {
    let mut machine = bench.create(&bench.spec("cold")).await?;
    bench.note("QEMU answers");
    let guest = machine.guest(within(120)).await?;
    bench.note(&format!("the guest takes commands; {}", memory(&*machine)?));
    let output = guest.run(&GuestCommand::new(["uname", "-r"]), soon()).await?;
    ensure!(output.success(), "{output:?}");
    let settled = guest.settle(within(60)).await?;
    bench.note(&format!("the guest has booted: {}", settled.stdout_text().trim()));
    ensure!(settled.success(), "{settled:?}");
    let evidence = machine.evidence();
    ensure!(evidence.start == Start::Cold { fallback: None }, "{:?}", evidence.start);
    bench.note(&format!("{}: {}", evidence.accelerator.name, evidence.accelerator.reason));
    let receipt = machine.destroy(None).await?;
    bench.note("destroyed");
    ensure!(receipt.is_clean(), "{receipt}");
    bench.assert_clean()
}

pub(crate) async fn restarts(bench: Bench) -> anyhow::Result<()> {
    let (mut machine, guest) = bench.fork("restarts").await?;
    let booted = boot_id(&guest).await?;
    guest.push(b"kept".to_vec().into(), "/var/lib/marker", 0o600, soon()).await?;
    let guest = machine.reboot(within(120)).await?;
    bench.note("rebooted");
    let rebooted = boot_id(&guest).await?;
    ensure!(rebooted != booted, "the same boot");
    ensure!(guest.pull("/var/lib/marker", soon()).await? == b"kept", "another content");
    guest.run(&GuestCommand::new(["sync"]), soon()).await?;

    let before = fs::metadata(machine.evidence().console_log)?;
    let guest = machine.kill_and_restart(None, within(120)).await?;
    bench.note("killed and started again");
    ensure!(boot_id(&guest).await? != rebooted, "the same boot");
    ensure!(guest.pull("/var/lib/marker", soon()).await? == b"kept", "another content");
    ensure!(before.is_file() && machine.evidence().console_log.is_file(), "a console log is missing");

    let size = MachineSize { memory: 1536 << 20, cpus: 1 };
    let guest = machine.resize(size, within(120)).await?;
    bench.note("resized");
    let seen = guest.run(&GuestCommand::script("nproc; awk '/MemTotal/{print $2}' /proc/meminfo"), soon()).await?;
    let seen = seen.stdout_text();
    let (cpus, kib) = seen.trim().split_once('\n').context("two lines")?;
    ensure!(cpus == "1" && kib.parse::<u64>()? > 1_300_000, "{seen}");
    let receipt = machine.destroy(None).await?;
    ensure!(receipt.is_clean(), "{receipt}");
    bench.assert_clean()
}

async fn boot_id(guest: &Guest) -> anyhow::Result<Vec<u8>> {
    Ok(guest.pull("/proc/sys/kernel/random/boot_id", soon()).await?)
}

pub(crate) async fn forks(bench: Bench) -> anyhow::Result<()> {
    let (first, guest) = bench.fork("first").await?;
    bench.note("first fork, with the stage built if there was none");
    let looks = GuestCommand::script(
        "head -c 16 /dev/urandom | base64; date +%s; cat /etc/machine-id
        logger --tag=fork seen; journalctl --sync; journalctl --boot --quiet --output=cat --identifier=fork",
    );
    let one = guest.run(&looks, soon()).await?.stdout_text();
    let (second, guest) = bench.fork("second").await?;
    bench.note(&format!("second fork takes commands; {}", memory(&*second)?));
    let two = guest.run(&looks, soon()).await?.stdout_text();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (one, two) = (lines(&one), lines(&two));
    ensure!(one[0] != two[0], "two forks drew the same random number");
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    ensure!(two[1].parse::<u64>()?.abs_diff(now) <= 3, "the fork's clock says {}, not {now}", two[1]);
    ensure!(one[2] != two[2], "two forks are the same machine, {}", one[2]);
    ensure!(one[3..] == ["seen"] && two[3..] == ["seen"], "the journal is lost: {one:?}, {two:?}");
    for machine in [first, second] {
        ensure!(matches!(machine.evidence().start, Start::Fork { .. }), "{:?}", machine.evidence().start);
        let receipt = machine.destroy(None).await?;
        ensure!(receipt.is_clean(), "{receipt}");
    }
    bench.note("both destroyed");
    bench.assert_clean()
}

/// How many forks there are at once.
const FORKS: usize = 8;

pub(crate) async fn saved(bench: Bench) -> anyhow::Result<()> {
    let ram = tempfile::tempdir_in("/dev/shm")?;
    // The stage is private by itself; its user has to get as far as that.
    fs::set_permissions(ram.path(), fs::Permissions::from_mode(0o711))?;
    let stage = ram.path().join("stage");
    let spec = MachineSpec { origin: Origin::Saving(stage.clone()), ..bench.spec("original") };
    let mut machine = bench.create(&spec).await?;
    let guest = machine.guest(within(120)).await?;
    guest.settle(within(120)).await?;
    let held = GuestCommand::script("echo memory >/run/held; echo disk >/var/held; sync");
    ensure!(guest.run(&held, soon()).await?.success(), "nothing can be written");
    bench.note("the original holds something");
    machine.save().await?;
    let receipt = machine.destroy(None).await?;
    ensure!(receipt.is_clean(), "{receipt}");
    ensure!(fs::metadata(&stage)?.mode() & 0o777 == 0o700, "others can look into the stage");
    bench.note("saved");

    let look = GuestCommand::script("cat /run/held /var/held; rm /run/held /var/held");
    let fork = async |number: usize| -> anyhow::Result<_> {
        let spec = MachineSpec { origin: Origin::Saved(stage.clone()), ..bench.spec(&format!("fork-{number}")) };
        let mut machine = bench.create(&spec).await?;
        let seen = machine.guest(soon()).await?.run(&look, soon()).await?.stdout_text();
        ensure!(seen == "memory\ndisk\n", "{seen}");
        Ok(machine)
    };
    fork(FORKS).await?.destroy(None).await?;
    bench.note("a fork has said what it holds, and is gone");
    let forks = futures::future::try_join_all((0..FORKS).map(fork)).await?;
    bench.note(&format!("{FORKS} at once have said it as well"));
    for machine in forks {
        let receipt = machine.destroy(None).await?;
        ensure!(receipt.is_clean(), "{receipt}");
    }
    bench.assert_clean()
}

pub(crate) async fn broken_stage(bench: Bench) -> anyhow::Result<()> {
    // An image directory of its own, as the stage is kept beside the image.
    let image = bench.linked_image()?;
    let spec = MachineSpec { origin: Origin::Blank, image: image.clone().into(), ..bench.spec("broken") };
    let machine = bench.create(&spec).await?;
    let Start::Fork { stage } = machine.evidence().start else { bail!("{:?}", machine.evidence().start) };
    machine.destroy(None).await?;
    let dir = image.root.with_file_name(format!("blank-{stage}"));
    fs::write(dir.join("state.broken"), "not a machine's state")?;
    fs::rename(dir.join("state.broken"), dir.join("state"))?;

    let mut machine = bench.create(&spec).await?;
    let Start::Cold { fallback: Some(reason) } = machine.evidence().start else {
        bail!("{:?}", machine.evidence().start)
    };
    bench.note(&reason);
    ensure!(!dir.exists(), "the broken stage is still there");
    machine.guest(within(120)).await?;
    let receipt = machine.destroy(None).await?;
    ensure!(receipt.is_clean(), "{receipt}");
    bench.assert_clean()
}

pub(crate) async fn never_boots(bench: Bench) -> anyhow::Result<()> {
    let image = bench.linked_image()?;
    let empty = bench.path("empty");
    fs::write(&empty, vec![0; 1 << 20])?;
    let spec = MachineSpec { image: BootImage { root: empty, ..image }.into(), ..bench.spec("never") };
    let mut machine = bench.create(&spec).await?;
    let error = machine.guest(within(15)).await.err().context("it booted")?;
    ensure!(matches!(error, BootError::Deadline { .. }), "{error}");
    bench.note(&error.to_string());
    let receipt = machine.destroy(None).await?;
    ensure!(receipt.is_clean(), "{receipt}");

    let spec = MachineSpec { memory: 1 << 50, ..bench.spec("impossible") };
    let error = bench.provider.create(&spec, bench.lease("impossible")?, soon()).await.err().context("it started")?;
    bench.note(&error.to_string());
    bench.assert_clean()
}

/// Where the bench keeps its state: on a file system that is small enough to be filled.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir(&path)?;
        let size = "size=640m,mode=711";
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(CString::new(size)?.as_c_str()))?;
        Ok(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("unmounting {}: {error}", self.0.display());
        }
    }
}

pub(crate) async fn full_disk(bench: Bench) -> anyhow::Result<()> {
    let small = SmallDisk::mount(bench.path("state"))?;
    let (machine, guest) = bench.fork("full").await?;
    let grow = GuestCommand::script("dd if=/dev/urandom of=/var/tmp/grows bs=1M count=2048; sync; sleep 600");
    let error = guest.run(&grow, within(600)).await.expect_err("a command that needs room that is not there");
    bench.note(&error.to_string());
    ensure!(matches!(&error, TransportError::Stopped { directory, .. } if directory.starts_with(&small.0)), "{error}");
    ensure!(error.to_string().contains("COLDPROOF_STATE"), "no remedy: {error}");
    let next = guest.run(&GuestCommand::new(["true"]), soon()).await;
    ensure!(matches!(next, Err(TransportError::Stopped { .. })), "{next:?}");
    let receipt = machine.destroy(None).await?;
    ensure!(receipt.is_clean(), "{receipt}");
    bench.assert_clean()
}

pub(crate) async fn killed_owner(bench: Bench) -> anyhow::Result<()> {
    let mut owner = Owner::start(&bench).await?;
    bench.note("the owner's machine runs");
    let entry = bench.ledger().entries()?.pop().context("the ledger is empty")?;
    ensure!(entry.owner.as_ref().is_some_and(ProcessIdentity::is_alive), "{entry:?}");
    owner.kill().await?;
    let elapsed = bench.await_clean(Duration::from_secs(5)).await?;
    bench.note(&format!("nothing is left {elapsed:?} after the owner was killed"));
    Ok(())
}

pub(crate) async fn kept(bench: Bench) -> anyhow::Result<()> {
    let (machine, guest) = bench.fork("kept").await?;
    guest.run(&GuestCommand::script("echo from the run >/run/note"), soon()).await?;
    drop(guest);
    let lease = machine.keep().await?;
    let guest = attach(&bench.ledger(), "kept", soon()).await?;
    ensure!(guest.pull("/run/note", soon()).await? == b"from the run\n", "another machine");
    let receipts = reap(&bench.ledger(), &ReapScope::Named(lease))?;
    ensure!(receipts.len() == 1 && receipts[0].is_clean(), "{receipts:?}");
    ensure!(guest.run(&GuestCommand::new(["true"]), within(5)).await.is_err(), "a dead machine took a command");
    bench.assert_clean()
}
