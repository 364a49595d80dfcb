//! The witness: a second, independent blank machine that builds the same commit, without any secret.

use std::collections::BTreeMap;

use coldproof_criteria::Need;
use coldproof_evidence::{
    Observed,
    guest::{EvaluatedConfiguration, Reproduction},
};
use coldproof_machines::guest::GuestCommand;

use super::{
    Phase, RunError,
    guest::{CHECKOUT, PATH, Session},
    rebuild::flake_reference,
    setting::Setting,
};

/// What of the configuration the host definition has to cover: secrets, and units that something wants at boot.
const COVERAGE: &str = "config: let
  wanted = unit: (unit.enable or true) && (unit.wantedBy or [ ]) ++ (unit.requiredBy or [ ]) != [ ];
  names = kind: suffix: let units = config.systemd.${kind} or { }; in
    map (name: name + suffix) (builtins.filter (name: wanted units.${name}) (builtins.attrNames units));
in {
  secrets = builtins.mapAttrs (name: secret: { key = secret.key or name; path = secret.path; }) (config.sops.secrets or { });
  units = names \"services\" \".service\" ++ names \"timers\" \".timer\";
}";

/// Builds on a second machine. Its troubles leave the witness unavailable; they never end the run.
pub(super) async fn run(setting: &Setting<'_>) -> Result<Observed<Reproduction>, RunError> {
    if !setting.selection.needs(Need::Reproduction) {
        return Ok(Observed::NotObserved);
    }
    let work = async {
        let (machine, session) = setting.machine("witness").await?;
        let built = build(setting, &session).await;
        setting.destroyed(machine.destroy(None).await?);
        built
    };
    Ok(match setting.stopwatch.time(Phase::Reproduce, work).await {
        Ok(reproduction) => Observed::of(reproduction),
        Err(error) => Observed::Unavailable { cause: format!("the independent build: {error}") },
    })
}

async fn build(setting: &Setting<'_>, session: &Session) -> Result<Reproduction, RunError> {
    session.install_observer().await?;
    let committed = setting.committed().await;
    session.clone_host(&setting.network, &committed.commit).await?;
    let host = &setting.host.host;
    let attribute = format!("nixosConfigurations.\"{}\".config", host.attribute);
    let flake = flake_reference(host.flake.as_str(), &attribute);
    let configuration = nix(session, "evaluating the flake", &["eval", "--json", &flake, "--apply", COVERAGE]).await?;
    let configuration: EvaluatedConfiguration = serde_json::from_slice(&configuration)
        .map_err(|source| RunError::Observer { subcommand: "nix eval".to_owned(), source })?;
    let target = format!("{flake}.system.build.toplevel");
    let toplevel = nix(session, "building the flake", &["build", "--no-link", "--print-out-paths", &target]).await?;
    let toplevel = String::from_utf8_lossy(&toplevel).trim().to_owned();
    Ok(Reproduction {
        closure: session.closure(&toplevel).await?,
        heads: heads(session).await?,
        toplevel,
        configuration,
    })
}

async fn nix(session: &Session, step: &str, arguments: &[&str]) -> Result<Vec<u8>, RunError> {
    let path = format!("PATH={PATH}");
    let nix = ["env", path.as_str(), "nix", "--extra-experimental-features", "nix-command flakes"];
    session.must(step, &GuestCommand::new(nix.iter().chain(arguments).copied())).await
}

/// The commit of the superproject and of each submodule, as checked out.
async fn heads(session: &Session) -> Result<BTreeMap<String, String>, RunError> {
    let script = "cd \"$1\"; echo \". $(git rev-parse HEAD)\"
        git submodule --quiet foreach --recursive 'echo \"$displaypath $(git rev-parse HEAD)\"'";
    let text = session.script("reading the checkout's commits", script, &[CHECKOUT]).await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let pairs = text.lines().filter_map(|line| line.rsplit_once(' '));
    Ok(pairs.map(|(path, commit)| (path.to_owned(), commit.to_owned())).collect())
}
