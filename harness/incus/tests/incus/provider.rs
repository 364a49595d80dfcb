//! Machines that are containers of a real server.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, ensure};
use coldproof_incus::{
    client::Client,
    instance::InstanceType,
    mark::Mark,
    provider::{IncusProvider, Settings},
};
use coldproof_machines::{
    guest::GuestCommand,
    lease::Lease,
    ledger::Ledger,
    process::ProcessIdentity,
    provider::{MachineSize, MachineSpec, Origin, Priority, Provider},
    reaper::{ReapScope, reap},
};

use crate::{
    bench::{Clock, container, within},
    daemon::{Daemon, ROOMY, boot_image, soon},
};

fn spec() -> anyhow::Result<MachineSpec> {
    Ok(MachineSpec {
        name: "subject".to_owned(),
        memory: 1 << 30,
        cpus: 1,
        disk: 4 << 30,
        forwards: vec![],
        guest_services: vec![],
        origin: Origin::Image,
        image: boot_image()?.into(),
        priority: Priority::Normal,
    })
}

fn settings(client: &Client, budget: Option<u64>) -> Settings {
    Settings {
        server: client.server().clone(),
        kind: InstanceType::Container,
        image: None,
        user_data: Some("#cloud-config\n".to_owned()),
        pool: None,
        budget,
    }
}

async fn is_empty(client: &Client) -> anyhow::Result<bool> {
    Ok(client.instances(soon()).await?.is_empty())
}

pub(crate) async fn machine() -> anyhow::Result<()> {
    let mut clock = Clock::start();
    let daemon = Daemon::start(ROOMY).await?;
    let client = daemon.client().await?;
    let settings = |budget| settings(&client, budget);
    let state = tempfile::tempdir()?;
    let ledger = Ledger::at(state.path());
    let lease = || Lease::acquire(&ledger, "test", "subject");

    let small = IncusProvider::connect(settings(Some(512 << 20)), soon()).await?;
    let refusal = small.create(&spec()?, lease()?, within(120)).await.err().context("it fits")?;
    ensure!(refusal.to_string().contains("does not fit"), "{refusal}");
    ensure!(is_empty(&client).await? && ledger.entries()?.is_empty(), "a refusal left something");

    let provider = IncusProvider::connect(settings(Some(4 << 30)), soon()).await?;
    let mut machine = provider.create(&spec()?, lease()?, within(120)).await?;
    clock.lap("a machine, with its image");
    let guest = machine.guest(within(60)).await?;
    clock.lap("its guest");
    let made = client.instances(soon()).await?;
    ensure!(made.len() == 1 && made[0].config["cloud-init.user-data"] == "#cloud-config\n", "{made:?}");
    let settled = guest.settle(within(60)).await?;
    ensure!(settled.success(), "{settled:?}");
    let output = guest.run(&GuestCommand::new(["ip", "-4", "-o", "address"]), soon()).await?;
    ensure!(output.stdout_text().contains("10.0.2.15"), "{output:?}");
    let upper = GuestCommand::new(["tr", "a-z", "A-Z"]).with_stdin(b"from standard input".to_vec().into());
    let output = guest.run(&upper, soon()).await?;
    ensure!(output.stdout_text() == "FROM STANDARD INPUT", "{output:?}");
    guest.push(b"a key".to_vec().into(), "/root/key", 0o400, soon()).await?;
    ensure!(guest.pull("/root/key", soon()).await? == b"a key");
    let modes = guest.run(&GuestCommand::new(["stat", "-c", "%a %U", "/root/key"]), soon()).await?;
    ensure!(modes.stdout_text().trim() == "400 root", "{modes:?}");
    let admitted = machine.admission().context("a server counts what runs")?.granted_bytes();
    let guest = machine.resize(MachineSize { memory: 1536 << 20, cpus: 1 }, within(60)).await?;
    clock.lap("resized");
    ensure!(guest.run(&GuestCommand::new(["true"]), soon()).await?.success());
    let resized = machine.admission().context("a server counts what runs")?.granted_bytes();
    ensure!((admitted, resized) == (1 << 30, 1536 << 20), "{admitted} and {resized} bytes were counted");
    let refusal = machine.resize(MachineSize { memory: 5 << 30, cpus: 1 }, within(60)).await.err();
    let refusal = refusal.context("more than the budget fits")?.to_string();
    ensure!(refusal.contains("does not fit"), "{refusal}");
    let evidence = tempfile::tempdir()?;
    let receipt = machine.destroy(Some(evidence.path())).await?;
    clock.lap("destroyed");
    ensure!(receipt.is_clean() && is_empty(&client).await? && ledger.entries()?.is_empty(), "{receipt}");
    ensure!(evidence.path().join("console.log").exists());
    drop(machine_dropped(&provider, lease()?).await?);
    ensure!(is_empty(&client).await? && ledger.entries()?.is_empty(), "dropping it left something");
    daemon.end().await
}

/// A machine whose owner forgets it.
async fn machine_dropped(provider: &IncusProvider, lease: Lease) -> anyhow::Result<String> {
    let machine = provider.create(&spec()?, lease, within(120)).await?;
    Ok(machine.name().to_owned())
}

/// Eight are asked for at once, and all of them fit; for a ninth there is no room. None of the limits is overrun.
pub(crate) async fn eight_at_once() -> anyhow::Result<()> {
    const SHARE: u64 = 512 << 20;
    let mut clock = Clock::start();
    let daemon = Daemon::start(ROOMY).await?;
    let client = daemon.client().await?;
    let provider = IncusProvider::connect(settings(&client, Some(8 * SHARE)), soon()).await?;
    let state = tempfile::tempdir()?;
    let ledger = Ledger::at(state.path());
    let spec = MachineSpec { memory: SHARE, ..spec()? };
    let make = async |_| -> anyhow::Result<_> {
        Ok(provider.create(&spec, Lease::acquire(&ledger, "test", "subject")?, within(300)).await)
    };
    let asked = futures::future::try_join_all((0..9).map(make)).await?;
    clock.lap("nine were asked for");
    let (made, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(Result::is_ok);
    let running = client.instances(soon()).await?.iter().filter(|instance| instance.is_up()).count();
    ensure!((made.len(), refused.len(), running) == (8, 1, 8), "{} made, {running} run", made.len());
    for error in refused.into_iter().filter_map(Result::err) {
        ensure!(error.to_string().contains("does not fit"), "{error}");
    }
    for machine in made.into_iter().flatten() {
        ensure!(machine.destroy(None).await?.is_clean());
    }
    clock.lap("eight were destroyed");
    ensure!(is_empty(&client).await? && ledger.entries()?.is_empty(), "something is left");
    daemon.end().await
}

/// What a lost ledger leaves: of all that has expired, what is ours and in no other ledger is removed, and nothing else.
pub(crate) async fn expired() -> anyhow::Result<()> {
    let daemon = Daemon::start(ROOMY).await?;
    let (client, image) = daemon.client_with_image().await?;
    let made = async |name: &str, owner: &str, life: Duration| {
        let mut spec = container(&client, name, &image);
        spec.mark = Mark::new(owner, "lost", &format!("nonce-{name}"), life);
        if life.is_zero() {
            spec.mark.expires = 1;
        }
        client.create(&spec, soon()).await
    };
    let (over, later) = (Duration::ZERO, Duration::from_secs(3600));
    made("ours-over", client.fingerprint(), over).await?;
    client.start("ours-over", soon()).await?;
    made("ours-held", client.fingerprint(), over).await?;
    made("ours-later", client.fingerprint(), later).await?;
    made("theirs-over", &"ab".repeat(32), over).await?;
    let limit = ["--config", "limits.memory=16MiB", "--storage", "pool", "--project", &daemon.project];
    daemon.incus(&[&["create", "--empty", "unmarked"], &limit[..]].concat()).await?;

    let receipts = client.remove_expired(|lease| lease == "nonce-ours-held", soon()).await?;
    ensure!(receipts.len() == 1 && receipts[0].is_clean() && receipts[0].lease == "nonce-ours-over", "{receipts:?}");
    let left: BTreeSet<String> = client.instances(soon()).await?.into_iter().map(|instance| instance.name).collect();
    ensure!(left == ["ours-held", "ours-later", "theirs-over", "unmarked"].map(str::to_owned).into(), "{left:?}");
    ensure!(client.remove_expired(|lease| lease == "nonce-ours-held", soon()).await?.is_empty());
    daemon.end().await
}

/// Of one whose owner is gone, one whose owner lives and one that is somebody else's, the first alone is removed.
pub(crate) async fn reaped() -> anyhow::Result<()> {
    let daemon = Daemon::start(ROOMY).await?;
    let client = daemon.client().await?;
    let provider = IncusProvider::connect(settings(&client, None), soon()).await?;
    let state = tempfile::tempdir()?;
    let ledger = Ledger::at(state.path());
    let lease = || Lease::acquire(&ledger, "test", "subject");
    let theirs = async |name: &str| {
        // A project with a limit wants one for each instance.
        let limit = ["--config", "limits.memory=16MiB", "--storage", "pool", "--project", &daemon.project];
        daemon.incus(&[&["create", "--empty", name], &limit[..]].concat()).await
    };
    theirs("theirs").await?;
    let living = provider.create(&spec()?, lease()?, within(120)).await?;
    let dead = provider.create(&spec()?, lease()?, within(120)).await?.keep().await?;
    let mut entry = ledger.read(&dead)?.context("an entry")?;
    // What a crash of the whole controller leaves: an owner of another boot.
    entry.owner = Some(ProcessIdentity { boot_id: "another".to_owned(), ..ProcessIdentity::current()? });
    let orphan = || anyhow::Ok(std::fs::write(ledger.entry_path(&dead), serde_json::to_vec(&entry)?)?);
    let name = &entry.remotes.first().context("an instance")?.name;

    orphan()?;
    let receipts = tokio::task::block_in_place(|| reap(&ledger, &ReapScope::Orphaned))?;
    ensure!(receipts.len() == 1 && receipts[0].is_clean() && receipts[0].lease == dead, "{receipts:?}");
    ensure!(client.instance(name, soon()).await?.is_none(), "{name} is left");
    ensure!(client.instances(soon()).await?.len() == 2, "it was not the only one that was removed");

    // Somebody else takes the name, and the ledger tells of ours as before.
    theirs(name).await?;
    orphan()?;
    let receipts = tokio::task::block_in_place(|| reap(&ledger, &ReapScope::Orphaned))?;
    ensure!(receipts.len() == 1 && receipts[0].is_clean(), "{receipts:?}");
    ensure!(client.instance(name, soon()).await?.is_some(), "{name} was somebody else's");
    ensure!(living.destroy(None).await?.is_clean());
    daemon.end().await
}
