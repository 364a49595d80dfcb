//! Commands in the guest.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use coldproof_machines::guest::{GuestCommand, TransportError};
use zeroize::Zeroizing;

use crate::bench::{Bench, soon, within};

pub(crate) async fn round_trips(bench: Bench) -> anyhow::Result<()> {
    let (machine, guest) = bench.fork("round-trips").await?;
    let output = guest.run(&GuestCommand::script("echo out; echo err >&2; exit 7"), soon()).await?;
    ensure!((output.status, &*output.stdout, &*output.stderr) == (7, b"out\n", b"err\n"), "{output:?}");
    let hostile = "a 'b' \"c\" $(d) `e` \\ \n ! ~ é";
    let output = guest.run(&GuestCommand::new(["printf", "%s", hostile]), soon()).await?;
    ensure!(output.stdout_text() == hostile, "{output:?}");
    let every_byte: Vec<u8> = (1..=255).chain([b'\n', b'\n', b' ']).collect();
    let printf = every_byte.iter().map(|byte| format!("\\\\x{byte:02x}")).collect::<String>();
    let output = guest.run(&GuestCommand::script(format!("printf {printf}")), soon()).await?;
    ensure!(output.stdout == every_byte, "{output:?}");
    let missing = guest.run(&GuestCommand::new(["no-such-program"]), soon()).await?;
    ensure!(missing.status == 127, "{missing:?}");

    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let all = || Zeroizing::new(bytes.clone());
    let echoed = guest.run(&GuestCommand::new(["cat"]).with_stdin(all()), soon()).await?;
    ensure!(echoed.stdout == bytes, "{} bytes came back", echoed.stdout.len());
    let unread = guest.run(&GuestCommand::new(["true"]).with_stdin(all()), soon()).await?;
    ensure!(unread.success(), "{unread:?}");
    let empty = guest.run(&GuestCommand::new(["wc", "-c"]).with_stdin(Zeroizing::default()), soon()).await?;
    ensure!(empty.stdout == b"0\n", "{empty:?}");
    // A process that is left behind must not hold up the command that left it.
    let left = guest.run(&GuestCommand::script("sleep 60 & echo done"), within(10)).await?;
    ensure!(left.stdout == b"done\n", "{left:?}");

    guest.push(Zeroizing::new(b"secret-on-stdin".to_vec()), "/run/key", 0o400, soon()).await?;
    ensure!(guest.pull("/run/key", soon()).await? == b"secret-on-stdin", "another content");
    let mode = guest.run(&GuestCommand::new(["stat", "-c%a", "/run/key"]), soon()).await?;
    ensure!(mode.stdout == b"400\n", "{mode:?}");
    ensure!(guest.pull("/no/such/file", soon()).await.is_err(), "a missing file was read");

    for command in [GuestCommand::new(["true"]), GuestCommand::new(["uname", "-a"])] {
        let start = Instant::now();
        for _ in 0..10 {
            guest.run(&command, soon()).await?;
        }
        bench.note(&format!("{:?} takes {:?}", command.argv, start.elapsed() / 10));
    }

    // The shell comes back, and knows nothing any more.
    let kill = GuestCommand::script("kill -KILL $(pgrep -o -f 'bash --no'); sleep 300");
    let killed = guest.run(&kill, within(20)).await;
    ensure!(matches!(killed, Err(TransportError::ShellRestarted { .. })), "{killed:?}");
    let after = guest.run(&GuestCommand::new(["echo", "back"]), soon()).await?;
    ensure!(after.stdout == b"back\n", "{after:?}");

    let evidence = bench.path("evidence");
    let receipt = machine.destroy(Some(&evidence)).await?;
    ensure!(receipt.is_clean(), "{receipt}");
    for file in ["console.log", "capture.pcap", "qemu.stderr"] {
        let bytes = std::fs::read(evidence.join(file)).context(file)?;
        ensure!(!bytes.windows(15).any(|window| window == b"secret-on-stdin"), "{file} holds the secret");
    }
    bench.assert_clean()
}

pub(crate) async fn deadlines(bench: Bench) -> anyhow::Result<()> {
    let (_machine, guest) = bench.fork("deadlines").await?;
    let start = Instant::now();
    let late = guest.run(&GuestCommand::script("echo $$ >/run/late; sleep 300"), within(2)).await;
    ensure!(matches!(late, Err(TransportError::Deadline { .. })), "{late:?}");
    ensure!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let alive = guest.run(&GuestCommand::script("kill -0 $(cat /run/late)"), soon()).await?;
    ensure!(!alive.success(), "the command still runs");

    // One that stops reading half way leaves input under way, which must not reach the next.
    let flood = Zeroizing::new(vec![b'x'; 4 << 20]);
    let stuck = guest.run(&GuestCommand::new(["sleep", "300"]).with_stdin(flood), within(2)).await;
    ensure!(matches!(stuck, Err(TransportError::Deadline { .. })), "{stuck:?}");
    let next = GuestCommand::new(["cat"]).with_stdin(Zeroizing::new(b"clean".to_vec()));
    let output = guest.run(&next, within(60)).await?;
    ensure!(output.stdout == b"clean", "{output:?}");
    Ok(())
}
