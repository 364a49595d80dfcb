//! A host that is there already, read over the real `ssh` by way of the real `sshd`: a container that was switched and kept.

use std::{collections::BTreeSet, fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use coldproof_evidence::bundle::SealedBundle;
use serde_json::Value;

use crate::{engine::Engine, leaks::finished};

const MACHINE: &str = "cc-ci-subject";
const INCONCLUSIVE: Option<i32> = Some(3);
/// What lets us in, in a directory of its own.
const LET_IN: &str = "mkdir -p -m700 /run/sshd /run/way-in
ssh-keygen -q -t ed25519 -N '' -f /run/way-in/host && echo \"$1\" >/run/way-in/authorized_keys && cat /run/way-in/host.pub";
const SSHD: &str = "/usr/sbin/sshd -i -o UsePAM=no -o StrictModes=no -o HostKey=/run/way-in/host \
                    -o AuthorizedKeysFile=/run/way-in/authorized_keys";
/// What is seen from inside, as the container has no address of its own, and what is left there.
const LOOKED_AT: [&str; 6] = [
    "identity.original",
    "convergence.running",
    "services.units",
    "secrets.in-place",
    "secrets.modes",
    "teardown.clean",
];
const DRIFT: &str = include_str!("../../reference/faults/running-system-differs.sh");
/// A program in the way of one that is run there: it does something to the connection, and then something else.
const IN_THE_WAY: &str = "install -m755 /dev/stdin /usr/local/sbin/$1 <<END
#!/bin/sh
kill -$2 \\$(pgrep sshd)
exec $3
END";
/// Ends a connection that is still there, as a network would in its own time, and waits for what was held by it.
const OUT_OF_THE_WAY: &str = "/bin/rm /usr/local/sbin/$1
holders=$(pgrep -f '@@[c]oldproof') || true
pkill -KILL sshd || true
pkill -x sleep || true
for holder in $holders; do timeout 30 tail --pid=$holder -f /dev/null; done";
const LEFT: &str = "shopt -s nullglob; echo /run/coldproof.* /dev/shm/coldproof.*";

/// It passes as it is, fails by name once it has drifted, tells nothing where the way to it is lost, and is left as it was.
pub(crate) fn read(engine: &Engine) -> Result<()> {
    finished(&engine.coldproof(&["reference", "world"]).output()?)?;
    let switch = ["prove", "--host", "world/coldproof.toml", "--provider", "docker", "--keep"];
    finished(&engine.coldproof(&switch).args(["--only", "convergence.one-switch", "--out", "kept"]).output()?)?;
    write_definition(engine)?;

    ensure!(failing(engine, "as-it-is")?.is_empty(), "it is what git says, and something failed");
    // The observer's look is cut off, or the network goes silent: none of it is known.
    lose(engine, ["journalctl", "KILL", "sleep infinity"], &LOOKED_AT)?;
    lose(engine, ["journalctl", "STOP", "sleep infinity"], &LOOKED_AT)?;
    // All has been seen, but nobody hears that the directory is gone.
    lose(engine, ["rm", "KILL", "/bin/rm \"$@\""], &["teardown.clean"])?;
    inside(engine, DRIFT, &[])?;
    let failed = failing(engine, "drifted")?;
    ensure!(failed == ["identity.original"], "a drift failed {failed:?}");
    left_as_it_was(engine)?;
    finished(&engine.coldproof(&["machines", "reap", MACHINE]).output()?).map(drop)
}

/// Lets ourselves in, and describes the way there as a user would.
fn write_definition(engine: &Engine) -> Result<()> {
    let key = engine.path("id");
    finished(&Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).output()?)?;
    let host_key = inside(engine, LET_IN, &[fs::read_to_string(key.with_extension("pub"))?.trim()])?;
    fs::write(engine.path("known_hosts"), format!("cc-ci {host_key}"))?;
    let (key, known_hosts) = (key.display(), engine.path("known_hosts"));
    let config = format!(
        "Host cc-ci\n  User root\n  HostKeyAlias cc-ci\n  IdentityFile {key}\n  UserKnownHostsFile {}\n  \
         ProxyCommand nsenter -t {} -m -u -i -n -p {SSHD}\n",
        known_hosts.display(),
        process_inside(engine)?
    );
    fs::write(engine.path("world/ssh_config"), config)?;
    let definition = fs::read_to_string(engine.path("world/coldproof.toml"))?;
    let original = "\n[machine.ssh]\nhost = \"cc-ci\"\nconfig = \"ssh_config\"\nwitness = \"docker\"\n";
    Ok(fs::write(engine.path("world/original.toml"), definition + original)?)
}

/// Runs a script in the container.
fn inside(engine: &Engine, script: &str, arguments: &[&str]) -> Result<String> {
    let process = process_inside(engine)?;
    let output = Command::new("nsenter")
        .args(["-t", &process, "-m", "-u", "-i", "-n", "-p", "bash", "-euc", script, "bash"])
        .args(arguments)
        .output()?;
    Ok(String::from_utf8(finished(&output)?)?)
}

/// The container's first process: it sees the key that this world's host was given.
fn process_inside(engine: &Engine) -> Result<String> {
    let key = fs::read(engine.path("world/keys/recovery.txt"))?;
    let sees = |process: &u32| {
        fs::read(format!("/proc/{process}/root/var/lib/sops-nix/key.txt")).is_ok_and(|found| found == key)
    };
    let processes = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(processes.filter(sees).min().context("no process is in the container")?.to_string())
}

/// The criteria that fail; all others of those that are asked for pass.
fn failing(engine: &Engine, out: &str) -> Result<Vec<String>> {
    let proof = Proof::of_the_host(engine, out)?;
    let (passed, failed) = (proof.with("pass"), proof.with("fail"));
    ensure!(passed.len() + failed.len() == LOOKED_AT.len(), "not all were judged: {}", proof.said);
    Ok(failed)
}

/// The way to the host is lost: that tells nothing of the host, and nothing is left.
fn lose(engine: &Engine, way: [&str; 3], unknown: &[&str]) -> Result<()> {
    let before = engine.containers()?;
    inside(engine, IN_THE_WAY, &way)?;
    let out = format!("lost-{}-{}", way[0], way[1]);
    let proof = Proof::of_the_host(engine, &out)?;
    let undecided: BTreeSet<_> = proof.with("inconclusive").into_iter().collect();
    let expected: BTreeSet<_> = unknown.iter().map(|&name| name.to_owned()).collect();
    ensure!(proof.code == INCONCLUSIVE && undecided == expected, "{out}: {:#}", proof.report);
    ensure!(proof.report.to_string().contains("the connection to cc-ci was lost"), "{out}: {:#}", proof.report);
    SealedBundle::open(&engine.path(&out))?;
    inside(engine, OUT_OF_THE_WAY, &way)?;
    left_as_it_was(engine)?;
    let leases = fs::read_dir(engine.path("subject/ledger"))?.count();
    ensure!(engine.containers()? == before && leases == 1, "{out}: more than the kept machine is left");
    Ok(())
}

fn left_as_it_was(engine: &Engine) -> Result<()> {
    let left = inside(engine, LEFT, &[])?;
    ensure!(left.trim().is_empty(), "left on the host: {left}");
    Ok(())
}

/// How a proof ended.
struct Proof {
    code: Option<i32>,
    report: Value,
    said: String,
}

impl Proof {
    fn of_the_host(engine: &Engine, out: &str) -> Result<Self> {
        let proof = ["prove", "--host", "world/original.toml", "--provider", "ssh", "--json", "--out", out];
        let only = LOOKED_AT.iter().flat_map(|criterion| ["--only", criterion]);
        let output = engine.coldproof(&proof).args(only).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout).with_context(|| said.clone())?;
        Ok(Self { code: output.status.code(), report, said })
    }

    /// The criteria with this outcome.
    fn with(&self, outcome: &str) -> Vec<String> {
        let criteria = self.report["criteria"].as_array().into_iter().flatten();
        let found = criteria.filter(|criterion| criterion["outcome"] == outcome);
        found.filter_map(|criterion| criterion["name"].as_str().map(str::to_owned)).collect()
    }
}
