//! What only the agent in a virtual machine does, against a **fake** server: it plays a virtual machine without one, as
//! real ones need KVM where the server is. Its guest is a set of namespaces of this computer, so commands really run.
//! Everything else about Incus is tested against a real incusd, in containers (`tests/incus`).

mod guest;
mod operation;
mod server;
mod vm;

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use coldproof_incus::{
    client::Client,
    error::IncusError,
    instance::InstanceType,
    provider::{IncusProvider, Settings},
};
use coldproof_machines::{
    deadline::Deadline,
    guest::{GuestCommand, TransportError},
    lease::Lease,
    ledger::Ledger,
    provider::{BootError, Machine, MachineImage, MachineSize, MachineSpec, Origin, Priority, Provider as _},
};
use libtest_mimic::{Arguments, Failed, Trial};

use server::{FATAL, Fake, IMAGE};
use vm::{Agent, HangUp};

fn main() {
    coldproof_machines::helper::dispatch(&[coldproof_incus::provider::REMOTE]);
    let trials = vec![
        trial("commands_wait_for_the_agent", commands_wait),
        trial("a_command_without_an_agent_says_so", no_agent_yet),
        trial("an_image_without_an_agent_says_what_to_do", never),
        trial("a_machine_that_stops_while_it_boots_is_named", stops),
        trial("an_agent_lost_midway_is_no_exit_status", lost),
        trial("a_resize_stops_it_changes_it_and_starts_it", resize),
        trial("a_machine_is_removed_while_it_reboots", reboots),
        trial("a_running_machine_is_not_resized", running),
        trial("a_change_by_somebody_else_is_not_overwritten", conflict),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn trial<F>(name: &'static str, body: fn() -> F) -> Trial
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(Box::pin(body())).map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn within(seconds: u64) -> Deadline {
    Deadline::after(Duration::from_secs(seconds))
}

/// A deadline that no test is to meet.
fn soon() -> Deadline {
    within(60)
}

/// A machine of the fake server's.
struct Bench {
    fake: Fake,
    client: Client,
    ledger: Ledger,
    machine: Box<dyn Machine>,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new(agent: Agent, hang_up: HangUp) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let fake = Fake::start(dir.path(), agent, hang_up).await?;
        let settings = Settings {
            server: fake.server.clone(),
            kind: InstanceType::VirtualMachine,
            image: Some("nixos".to_owned()),
            user_data: None,
            pool: None,
            budget: None,
        };
        let provider = IncusProvider::connect(settings, soon()).await?;
        let client = Client::connect(&fake.server, soon()).await?;
        let ledger = Ledger::at(dir.path());
        let machine = provider.create(&spec(), Lease::acquire(&ledger, "test", "subject")?, soon()).await?;
        Ok(Self { fake, client, ledger, machine, _dir: dir })
    }

    async fn name(&self) -> anyhow::Result<String> {
        Ok(self.client.instances(soon()).await?.first().context("an instance")?.name.clone())
    }

    /// Destroys the machine, and looks that nothing is left.
    async fn end(self) -> anyhow::Result<()> {
        let receipt = self.machine.destroy(None).await?;
        ensure!(receipt.is_clean() && self.ledger.entries()?.is_empty(), "{receipt}");
        ensure!(self.fake.memory().await.is_none(), "the machine is left");
        Ok(())
    }
}

fn spec() -> MachineSpec {
    MachineSpec {
        name: "subject".to_owned(),
        memory: 1 << 30,
        cpus: 1,
        disk: 4 << 30,
        forwards: vec![],
        guest_services: vec![],
        origin: Origin::Image,
        image: MachineImage::Server(IMAGE.to_owned()),
        priority: Priority::Normal,
    }
}

async fn commands_wait() -> anyhow::Result<()> {
    let mut bench = Bench::new(Agent::After(3), HangUp::Words).await?;
    let made = bench.client.instances(soon()).await?;
    ensure!(made[0].config["security.secureboot"] == "false", "what nobody signed does not boot: {made:?}");
    let guest = bench.machine.guest(soon()).await?;
    ensure!(!bench.fake.asked().await.contains(&"exec without".to_owned()), "a command came before the agent");

    let command = GuestCommand::script("cat; echo err >&2; exit 3").with_stdin(b"in".to_vec().into());
    let output = guest.run(&command, soon()).await?;
    ensure!(
        (output.status, output.stdout_text(), output.stderr_text()) == (3, "in".into(), "err\n".into()),
        "{output:?}"
    );
    ensure!(guest.run(&GuestCommand::new(["no-such-command"]), soon()).await?.status == 127);
    guest.push(b"a key".to_vec().into(), "/run/key", 0o400, soon()).await?;
    ensure!(guest.pull("/run/key", soon()).await? == b"a key" && !Path::new("/run/key").exists());
    let path = guest.run(&GuestCommand::script("echo $PATH"), soon()).await?;
    ensure!(path.stdout_text().contains("/run/current-system/sw/bin"), "{path:?}");

    let state = bench.client.state(&bench.name().await?, soon()).await?;
    ensure!(
        state.memory.usage == 300 << 20 && state.addresses() == ["10.9.8.7".parse::<std::net::IpAddr>()?],
        "{state:?}"
    );
    bench.end().await
}

async fn no_agent_yet() -> anyhow::Result<()> {
    let bench = Bench::new(Agent::Never, HangUp::Words).await?;
    let run = bench.client.exec(&bench.name().await?, &GuestCommand::new(["true"]), soon()).await;
    let error = run.err().context("it ran")?;
    ensure!(matches!(&error, IncusError::Agent { reason, .. } if reason.contains("agent isn't")), "{error:?}");
    bench.end().await
}

async fn never() -> anyhow::Result<()> {
    let mut bench = Bench::new(Agent::Never, HangUp::Words).await?;
    let error = bench.machine.guest(within(2)).await.err().context("there is a guest")?;
    ensure!(matches!(error, BootError::Uncontrolled { .. }), "{error:?}");
    for part in
        ["subject", "Incus agent", "virtualisation.incus.agent.enable", "`deadline`", "a virtual machine's console"]
    {
        ensure!(error.to_string().contains(part), "`{part}` is not in: {error}");
    }
    bench.end().await
}

async fn stops() -> anyhow::Result<()> {
    let mut bench = Bench::new(Agent::Panic, HangUp::Words).await?;
    let error = bench.machine.guest(soon()).await.err().context("there is a guest")?;
    ensure!(matches!(error, BootError::Transport { source: TransportError::Lost { .. }, .. }), "{error:?}");
    ensure!(
        error.to_string().contains("Stopped") && error.to_string().contains("a virtual machine's console"),
        "{error}"
    );
    bench.end().await
}

async fn lost() -> anyhow::Result<()> {
    for hang_up in [HangUp::Words, HangUp::Status] {
        let mut bench = Bench::new(Agent::After(0), hang_up).await?;
        let guest = bench.machine.guest(soon()).await?;
        let run = guest.run(&GuestCommand::new(["echo", FATAL]), soon()).await;
        let error = run.err().with_context(|| format!("{hang_up:?}: the command has a status"))?;
        ensure!(
            matches!(&error, TransportError::Lost { reason } if reason.contains("agent")),
            "{hang_up:?}: {error:?}"
        );
        let error = guest.run(&GuestCommand::new(["true"]), soon()).await.err().context("it ran")?;
        ensure!(error.to_string().contains("agent isn't currently running"), "{error}");
        bench.end().await?;
    }
    Ok(())
}

async fn resize() -> anyhow::Result<()> {
    let mut bench = Bench::new(Agent::After(2), HangUp::Words).await?;
    bench.machine.guest(soon()).await?;
    let before = bench.fake.asked().await.len();
    let guest = bench.machine.resize(MachineSize { memory: 2 << 30, cpus: 2 }, soon()).await?;
    ensure!(guest.run(&GuestCommand::new(["true"]), soon()).await?.success());
    let asked = bench.fake.asked().await.split_off(before);
    let changes: Vec<&str> = asked.iter().map(String::as_str).filter(|asked| !asked.starts_with("exec")).collect();
    ensure!(changes == ["stop", "patch, taken", "start"], "{asked:?}");
    ensure!(bench.fake.memory().await == Some(format!("{}B", 2_u64 << 30)));
    let guest = bench.machine.kill_and_restart(None, soon()).await?;
    ensure!(guest.run(&GuestCommand::new(["true"]), soon()).await?.success());
    bench.end().await
}

/// Incus makes a stop and a start of a reboot, and lists no operation for that.
async fn reboots() -> anyhow::Result<()> {
    let bench = Bench::new(Agent::After(0), HangUp::Words).await?;
    bench.fake.reboot().await?;
    let receipt = bench.machine.destroy(None).await?;
    ensure!(receipt.is_clean() && bench.ledger.entries()?.is_empty(), "{receipt}");
    let asked = bench.fake.asked().await;
    ensure!(asked.ends_with(&["delete, refused", "stop by force", "delete, taken"].map(str::to_owned)), "{asked:?}");
    Ok(())
}

async fn running() -> anyhow::Result<()> {
    let bench = Bench::new(Agent::After(0), HangUp::Words).await?;
    let error = bench.client.set_size(&bench.name().await?, 2 << 30, 2, soon()).await.err().context("it grew")?;
    ensure!(error.to_string().contains("not stopped"), "{error}");
    ensure!(!bench.fake.asked().await.iter().any(|asked| asked.starts_with("patch")), "the server was asked");
    bench.end().await
}

async fn conflict() -> anyhow::Result<()> {
    let bench = Bench::new(Agent::After(0), HangUp::Words).await?;
    let name = bench.name().await?;
    bench.client.stop(&name, true, soon()).await?;
    bench.fake.interfere().await;
    let error = bench.client.set_size(&name, 2 << 30, 2, soon()).await.err().context("it was overwritten")?;
    ensure!(matches!(error, IncusError::Conflict { .. }), "{error:?}");
    ensure!(bench.fake.memory().await == Some(format!("{}B", 1_u64 << 30)));
    bench.end().await
}
