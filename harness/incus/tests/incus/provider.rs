//! Machines that are containers of a real server.

use anyhow::{Context, ensure};
use coldproof_incus::{
    client::Client,
    instance::InstanceType,
    provider::{IncusProvider, Settings},
};
use coldproof_machines::{
    guest::GuestCommand,
    lease::Lease,
    ledger::Ledger,
    provider::{MachineSpec, Origin, Priority, Provider},
};

use crate::{
    bench::{Clock, within},
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

async fn is_empty(client: &Client) -> anyhow::Result<bool> {
    Ok(client.instances(soon()).await?.is_empty())
}

pub(crate) async fn machine() -> anyhow::Result<()> {
    let mut clock = Clock::start();
    let daemon = Daemon::start(ROOMY).await?;
    let client = daemon.client().await?;
    let settings = |budget| Settings {
        server: client.server().clone(),
        kind: InstanceType::Container,
        image: None,
        pool: None,
        budget,
    };
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
