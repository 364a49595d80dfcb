//! Machines that really run. They need QEMU and an image: `COLDPROOF_TEST_IMAGE` names its
//! directory, or else the newest below the images' cache is taken.

mod common;

use std::time::Duration;

use anyhow::{Context, ensure};
use coldproof_machines::{deadline::Deadline, guest::GuestCommand};
use common::{Bench, trial};
use libtest_mimic::{Arguments, Trial};
use zeroize::Zeroizing;

fn main() {
    coldproof_machines::helper::dispatch();
    common::log();
    let trials: Vec<Trial> = vec![trial("a_cold_boot_takes_commands_and_leaves_nothing", cold_boot)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

async fn cold_boot(bench: Bench) -> anyhow::Result<()> {
    let mut machine = bench.create(&bench.spec("cold")).await?;
    let guest = machine.guest(Deadline::after(Duration::from_secs(120))).await?;
    bench.note("cold boot to ready");
    let soon = || Deadline::after(Duration::from_secs(20));

    let output = guest.run(&GuestCommand::script("echo out; echo err >&2; exit 7"), soon()).await?;
    ensure!((output.status, &*output.stdout, &*output.stderr) == (7, b"out\n", b"err\n"), "{output:?}");

    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let echoed = guest.run(&GuestCommand::new(["cat"]).with_stdin(Zeroizing::new(bytes.clone())), soon()).await?;
    ensure!(echoed.stdout == bytes, "{} bytes came back", echoed.stdout.len());
    let unread = guest.run(&GuestCommand::new(["true"]).with_stdin(Zeroizing::new(bytes.clone())), soon()).await?;
    ensure!(unread.success());

    guest.push(Zeroizing::new(b"secret-on-stdin".to_vec()), "/run/key", 0o400, soon()).await?;
    ensure!(guest.pull("/run/key", soon()).await? == b"secret-on-stdin");
    let mode = guest.run(&GuestCommand::new(["stat", "-c%a", "/run/key"]), soon()).await?;
    ensure!(mode.stdout == b"400\n");
    bench.note("commands done");

    let evidence = bench.path("evidence");
    let receipt = machine.destroy(Some(&evidence)).await?;
    bench.note("destroyed");
    ensure!(receipt.is_clean(), "{receipt}");
    for file in ["console.log", "capture.pcap", "qemu.stderr"] {
        let bytes = std::fs::read(evidence.join(file)).context(file)?;
        ensure!(!bytes.windows(15).any(|window| window == b"secret-on-stdin"), "{file} holds the secret");
    }
    bench.assert_clean()
}
