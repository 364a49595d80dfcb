//! An instance from its creation to its end.

use anyhow::{Context, ensure};
use coldproof_incus::instance::{InstanceSpec, Source};
use coldproof_machines::guest::GuestCommand;
use zeroize::Zeroizing;

use crate::{
    bench::{Clock, container},
    daemon::{Daemon, ROOMY, soon},
};

pub(crate) async fn whole_life() -> anyhow::Result<()> {
    let mut clock = Clock::start();
    let daemon = Daemon::start(ROOMY).await?;
    clock.lap("a daemon of our own");
    let (client, image) = daemon.client_with_image().await?;
    clock.lap("its image");
    let spec = container(&client, "whole", &image);
    client.create(&spec, soon()).await?;
    clock.lap("create");
    client.push_file("whole", "/etc/pushed", 0o640, "while stopped\n", soon()).await?;
    client.start("whole", soon()).await?;
    clock.lap("start");
    let output = client.exec("whole", &GuestCommand::new(["stat", "-c", "%a %u", "/etc/pushed"]), soon()).await?;
    ensure!(output.stdout_text() == "640 0\n", "{output:?}");
    clock.lap("first command");
    let state = client.state("whole", soon()).await?;
    ensure!(state.takes_commands() && state.memory.usage > 0 && state.addresses().is_empty(), "{state:?}");
    ensure!(client.pull_file("whole", "/etc/pushed", soon()).await? == "while stopped\n");

    client.snapshot("whole", "s", soon()).await?;
    let fork = InstanceSpec { source: Source::Copy("whole/s".into()), ..container(&client, "fork", &image) };
    clock.lap("snapshot");
    client.create(&fork, soon()).await?;
    client.start("fork", soon()).await?;
    client.exec("fork", &GuestCommand::new(["true"]), soon()).await?;
    clock.lap("fork to first command");
    let mark = client.instance("fork", soon()).await?.context("it exists")?.mark().context("a mark")?;
    ensure!(mark == fork.mark, "a fork has a mark of its own: {mark:?}");

    client.stop("fork", true, soon()).await?;
    client.set_size("fork", 512 << 20, 2, soon()).await?;
    client.start("fork", soon()).await?;
    let config = client.instance("fork", soon()).await?.context("it exists")?.config;
    ensure!(config["limits.memory"] == format!("{}B", 512 << 20), "{config:?}");
    clock.lap("resize");
    ensure!(!client.console_log("whole", soon()).await?.is_empty());

    client.remove("whole", "somebody-else's", soon()).await?;
    ensure!(client.instance("whole", soon()).await?.is_some(), "it is not to be removed by another nonce");
    for spec in [&spec, &fork] {
        client.remove(&spec.name, &spec.mark.nonce, soon()).await?;
        client.remove(&spec.name, &spec.mark.nonce, soon()).await?;
    }
    ensure!(client.instances(soon()).await?.is_empty());
    clock.lap("removed");
    daemon.end().await?;
    clock.lap("the daemon's end");
    Ok(())
}

pub(crate) async fn commands() -> anyhow::Result<()> {
    let daemon = Daemon::start(ROOMY).await?;
    let (client, image) = daemon.client_with_image().await?;
    let spec = container(&client, "c", &image);
    client.create(&spec, soon()).await?;
    client.start("c", soon()).await?;
    let run = |command: GuestCommand| {
        let client = client.clone();
        async move { client.exec("c", &command, soon()).await }
    };
    let output = run(GuestCommand::script("echo out; echo err >&2; exit 3")).await?;
    ensure!((output.status, output.stdout_text().as_str(), output.stderr_text().as_str()) == (3, "out\n", "err\n"));
    let big: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let output = run(GuestCommand::new(["cat"]).with_stdin(Zeroizing::new(big.clone()))).await?;
    ensure!(output.stdout == big, "{} bytes came back", output.stdout.len());
    let output = run(GuestCommand::new(["cat"])).await?;
    ensure!(output.success() && output.stdout.is_empty());
    ensure!(run(GuestCommand::new(["true"]).with_stdin(Zeroizing::new(big))).await?.success());
    ensure!(run(GuestCommand::new(["no-such-command"])).await?.status == 127);
    ensure!(run(GuestCommand::script("kill -TERM $$")).await?.status == 128 + 15);
    // What goes on in the background does not hold up the command that started it.
    ensure!(run(GuestCommand::script("setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo started")).await?.success());
    let late = client.exec("c", &GuestCommand::new(["sleep", "998"]), crate::bench::within(2)).await;
    ensure!(late.as_ref().is_err_and(|error| error.to_string().contains("deadline")), "{late:?}");
    let left = run(GuestCommand::script(
        "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done | grep -c '^sleep 998'",
    ))
    .await?;
    ensure!(left.stdout_text() == "0\n", "a command past its deadline goes on: {left:?}");
    let mut clock = Clock::start();
    run(GuestCommand::new(["true"])).await?;
    clock.lap("a command");
    client.remove("c", &spec.mark.nonce, soon()).await?;
    daemon.end().await
}
