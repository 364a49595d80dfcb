//! What is left when the owner of a lease dies. The owners here are this very binary, started
//! with `__owner`; their machines are ordinary processes.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use coldproof_machines::{
    Containment,
    lease::Lease,
    ledger::{Ledger, LedgerEntry},
    process::ProcessIdentity,
    reaper::{ReapScope, reap},
};
use libtest_mimic::{Arguments, Failed, Trial};

const OWNER: &str = "__owner";
/// This very binary, even if it was built anew since it was started.
const SELF: &str = "/proc/self/exe";
/// A backstop: how soon everything is gone is measured, not tested, as other tests take the processors meanwhile.
const LIMIT: Duration = Duration::from_secs(30);

fn main() {
    coldproof_machines::helper::dispatch(&[]);
    if env::args().nth(1).as_deref() == Some(OWNER) {
        own(env::args().nth(2).expect("a state directory").as_ref());
    }
    let trial = |name: &str, body: fn(&Ledger) -> anyhow::Result<()>| {
        Trial::test(name, move || {
            let state = tempfile::tempdir()?;
            body(&Ledger::at(state.path())).map_err(|error| Failed::from(format!("{error:?}")))
        })
    };
    let trials = vec![
        trial("a_killed_owner_leaves_nothing", killed_owner),
        trial("an_owner_killed_at_any_moment_leaves_nothing", killed_at_any_moment),
        trial("a_dropped_lease_leaves_nothing", dropped),
        trial("a_kept_lease_stays_until_it_is_reaped_by_name", kept),
        trial("what_lost_its_owner_and_its_reaper_is_reaped_from_the_ledger", orphaned),
        trial("a_living_owner_is_never_reaped", living),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Takes a lease, starts a machine of two processes in two sessions, says so, and stays.
fn own(state: &Path) -> ! {
    let lease = Lease::acquire(&Ledger::at(state), "run", "machine").expect("a lease");
    let mut machine = start_machine(&lease).expect("a machine");
    writeln!(io::stdout(), "running").expect("a reader");
    machine.wait().expect("the machine is this process's child");
    unreachable!("the machine outlives every test");
}

fn start_machine(lease: &Lease) -> anyhow::Result<Child> {
    let mut machine = lease
        .command(Path::new("/bin/sh"))
        .args(["-c", "setsid sleep 300 & echo started; exec sleep 300"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(machine.stdout.take().context("a pipe")?).read_line(&mut line)?;
    ensure!(line == "started\n", "the machine said {line:?}");
    Ok(machine)
}

fn start_owner(ledger: &Ledger) -> anyhow::Result<Child> {
    Ok(Command::new(SELF).arg(OWNER).arg(ledger.state()).stdout(Stdio::piped()).spawn()?)
}

/// Waits for the owner's word that its machine runs.
fn await_machine(owner: &mut Child) -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(owner.stdout.take().context("a pipe")?).read_line(&mut line)?;
    ensure!(line == "running\n", "the owner said {line:?}");
    Ok(())
}

/// The processes of a lease, by the mark in their environment.
fn processes(lease: &str) -> Vec<String> {
    let mark = format!("COLDPROOF_LEASE={lease}");
    let holds = |dir: &Path| {
        fs::read(dir.join("environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes()))
    };
    let entries = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    entries.filter(|dir| holds(dir)).map(|dir| dir.display().to_string()).collect()
}

/// Waits until both processes of the machine are seen. On its way to being another program, a process shows no environment.
fn await_processes(entry: &LedgerEntry) -> anyhow::Result<()> {
    let start = Instant::now();
    while processes(&entry.lease).len() != 2 {
        ensure!(start.elapsed() < LIMIT, "the machine does not run: {entry:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn left_of(ledger: &Ledger, entry: &LedgerEntry) -> Vec<String> {
    let mut left = processes(&entry.lease);
    let group = match &entry.containment {
        Containment::CgroupV1 { path } | Containment::CgroupV2 { path } => Some(path.clone()),
        Containment::Mark => None,
    };
    let paths = entry.directories.iter().cloned().chain(group).chain([ledger.entry_path(&entry.lease)]);
    left.extend(paths.filter(|path| path.exists()).map(|path| path.display().to_string()));
    left
}

/// Waits until nothing of `entry` is left, and returns how long that took.
fn await_nothing(ledger: &Ledger, entry: &LedgerEntry) -> anyhow::Result<Duration> {
    let start = Instant::now();
    loop {
        let left = left_of(ledger, entry);
        if left.is_empty() {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < LIMIT, "left after {LIMIT:?}: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn only_entry(ledger: &Ledger) -> anyhow::Result<LedgerEntry> {
    ledger.entries()?.pop().context("the ledger is empty")
}

fn killed_owner(ledger: &Ledger) -> anyhow::Result<()> {
    let mut owner = start_owner(ledger)?;
    await_machine(&mut owner)?;
    let entry = only_entry(ledger)?;
    await_processes(&entry)?;
    owner.kill()?;
    owner.wait()?;
    let elapsed = await_nothing(ledger, &entry)?;
    eprintln!("gone {elapsed:?} after the owner was killed ({:?})", entry.containment);
    Ok(())
}

fn killed_at_any_moment(ledger: &Ledger) -> anyhow::Result<()> {
    let mut found = 0;
    for delay in 0..25 {
        let mut owner = start_owner(ledger)?;
        std::thread::sleep(Duration::from_millis(delay));
        owner.kill()?;
        owner.wait()?;
        for entry in ledger.entries()? {
            found += 1;
            await_nothing(ledger, &entry)?;
        }
    }
    ensure!(found > 0, "every owner was killed before it had a lease");
    // Killed before its entry was complete, an owner may have left the draft of one.
    let start = Instant::now();
    loop {
        let dirs = [ledger.state().join("leases"), ledger.state().join("ledger")];
        let left: Vec<_> = dirs.iter().flat_map(fs::read_dir).flatten().flatten().map(|entry| entry.path()).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "left after {LIMIT:?}: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn dropped(ledger: &Ledger) -> anyhow::Result<()> {
    let lease = Lease::acquire(ledger, "run", "machine")?;
    let mut machine = start_machine(&lease)?;
    let entry = only_entry(ledger)?;
    drop(lease);
    machine.wait()?;
    let left = left_of(ledger, &entry);
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

fn kept(ledger: &Ledger) -> anyhow::Result<()> {
    let lease = Lease::acquire(ledger, "run", "machine")?;
    let mut machine = start_machine(&lease)?;
    lease.keep()?;
    let entry = only_entry(ledger)?;
    ensure!(entry.is_kept(), "{entry:?}");
    await_processes(&entry)?;
    ensure!(reap(ledger, &ReapScope::Orphaned)?.is_empty(), "a kept machine was reaped");
    let receipts = reap(ledger, &ReapScope::Named("machine".to_owned()))?;
    machine.wait()?;
    ensure!(receipts.len() == 1 && receipts[0].is_clean(), "{receipts:?}");
    let left = left_of(ledger, &entry);
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

fn orphaned(ledger: &Ledger) -> anyhow::Result<()> {
    let lease = Lease::acquire(ledger, "run", "machine")?;
    let mut machine = start_machine(&lease)?;
    lease.keep()?;
    // What a crash of the whole controller leaves: an owner of another boot.
    let mut entry = only_entry(ledger)?;
    entry.owner = Some(ProcessIdentity { boot_id: "another".to_owned(), ..ProcessIdentity::current()? });
    fs::write(ledger.entry_path(&entry.lease), serde_json::to_vec(&entry)?)?;
    let receipts = reap(ledger, &ReapScope::Orphaned)?;
    machine.wait()?;
    ensure!(receipts.len() == 1 && receipts[0].is_clean(), "{receipts:?}");
    let left = left_of(ledger, &entry);
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

fn living(ledger: &Ledger) -> anyhow::Result<()> {
    let lease = Lease::acquire(ledger, "run", "machine")?;
    for scope in [ReapScope::Orphaned, ReapScope::OrphanedAndKept, ReapScope::Named("machine".to_owned())] {
        ensure!(reap(ledger, &scope)?.is_empty(), "{scope:?} reaped a living owner's machine");
    }
    let receipt = lease.release();
    ensure!(receipt.is_clean(), "{receipt}");
    Ok(())
}
