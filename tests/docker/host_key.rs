//! A host that decrypts with its own SSH key, which is the one secret that a blank machine is given.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{engine::Engine, leaks::finished};

const ONE_SECRET: &str = "blank.one-secret";

/// It passes, its key included; where the declared recipient is another key's, the delivered key is not that one.
pub(crate) fn bootstrap(engine: &Engine) -> Result<()> {
    finished(&engine.coldproof(&["reference", "world", "--bootstrap", "ssh-host-key"]).output()?)?;
    let definition = engine.path("world/coldproof.toml");
    let declared = fs::read_to_string(&definition)?;
    let bootstrap =
        "[bootstrap]\nkey = { file = \"keys/ssh_host_ed25519_key\" }\npath = \"/etc/ssh/ssh_host_ed25519_key\"\n";
    ensure!(declared.contains(bootstrap), "another key is delivered:\n{declared}");
    let proof = prove(engine, &["--out", "good"])?;
    ensure!(proof["verdict"] == "pass", "{proof:#}");
    for criterion in [ONE_SECRET, "secrets.each-recipient", "secrets.missing-key-is-loud", "secrets.wrong-key-is-loud"]
    {
        let judged = judged(&proof, criterion)?;
        ensure!(judged["outcome"] == "pass", "{judged:#}");
    }

    let recipient_of = |table: &str, key: &str| {
        let (_, after) = declared.split_once(&format!("[{table}]")).context("no such table")?;
        let value = after.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        Ok::<_, anyhow::Error>(value.context("no such key")?.trim_end_matches('"').to_owned())
    };
    let (own, recovery) = (recipient_of("bootstrap", "recipient")?, recipient_of("recipients.recovery", "age")?);
    fs::write(
        &definition,
        declared.replacen(&format!("recipient = \"{own}\""), &format!("recipient = \"{recovery}\""), 1),
    )?;
    let proof = prove(engine, &["--only", ONE_SECRET, "--out", "other"])?;
    let judged = judged(&proof, ONE_SECRET)?;
    ensure!(judged["outcome"] == "fail" && judged["expected"] == recovery && judged["got"] == own, "{judged:#}");
    Ok(())
}

fn prove(engine: &Engine, arguments: &[&str]) -> Result<Value> {
    let proof = ["prove", "--host", "world/coldproof.toml", "--provider", "docker", "--json"];
    let output = engine.coldproof(&proof).args(arguments).output()?;
    serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

fn judged<'a>(proof: &'a Value, criterion: &str) -> Result<&'a Value> {
    let mut criteria = proof["criteria"].as_array().into_iter().flatten();
    criteria.find(|judged| judged["name"] == criterion).with_context(|| format!("{criterion} is not judged: {proof:#}"))
}
