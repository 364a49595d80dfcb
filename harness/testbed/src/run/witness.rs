//! The witness: a second, independent blank machine that builds the same commit, without any secret.

use std::collections::BTreeMap;

use super::{
    Phase, RunError,
    builds::{self, TOPLEVEL},
    guest::{CHECKOUT, Session},
    rebuild::{flake_reference, path_reference},
    setting::Setting,
};
use coldproof_criteria::Need;
use coldproof_evidence::{
    Observed,
    builds::{RepeatedBuilds, SourceForms},
    guest::{EvaluatedConfiguration, Reproduction},
};
use coldproof_machines::provider::Priority;

/// What of the configuration the host definition has to cover: secrets, and units that something wants at boot.
const COVERAGE: &str = "config: let
  wanted = unit: (unit.enable or true) && (unit.wantedBy or [ ]) ++ (unit.requiredBy or [ ]) != [ ];
  names = kind: suffix: let units = config.systemd.${kind} or { }; in
    map (name: name + suffix) (builtins.filter (name: wanted units.${name}) (builtins.attrNames units));
in {
  secrets = builtins.mapAttrs (name: secret: { key = secret.key or name; path = secret.path; }) (config.sops.secrets or { });
  units = names \"services\" \".service\" ++ names \"timers\" \".timer\";
}";

/// What the second machine brought back. Whatever was not asked of it stays `NotObserved`.
#[derive(Default)]
pub(super) struct Witness {
    pub(super) reproduction: Observed<Reproduction>,
    pub(super) repeated_builds: Observed<RepeatedBuilds>,
    pub(super) source_forms: Observed<SourceForms>,
}

/// Builds on a second machine. Its troubles leave what it did not get to unavailable; they never end the run.
pub(super) async fn run(setting: &Setting<'_>) -> Result<Witness, RunError> {
    let mut witness = Witness::default();
    let needed = |need| setting.selection.needs(need);
    if ![Need::Reproduction, Need::RepeatedBuilds, Need::SourceForms].into_iter().any(needed) {
        return Ok(witness);
    }
    let work = async {
        let (machine, session) = setting.machine("witness", Priority::Background).await?;
        let observed = observe(setting, &session, &mut witness).await;
        setting.discard(machine).await?;
        observed
    };
    if let Err(error) = setting.stopwatch.time(Phase::Reproduce, work).await {
        let cause = format!("the independent build: {error}");
        lose(&mut witness.reproduction, needed(Need::Reproduction), &cause);
        lose(&mut witness.repeated_builds, needed(Need::RepeatedBuilds), &cause);
        lose(&mut witness.source_forms, needed(Need::SourceForms), &cause);
    }
    Ok(witness)
}

/// What is needed and was not observed could not be had.
fn lose<T>(observed: &mut Observed<T>, needed: bool, cause: &str) {
    if needed && matches!(observed, Observed::NotObserved) {
        *observed = Observed::Unavailable { cause: cause.to_owned() };
    }
}

async fn observe(setting: &Setting<'_>, session: &Session, witness: &mut Witness) -> Result<(), RunError> {
    let host = &setting.host.host;
    let attribute = format!("nixosConfigurations.\"{}\".config", host.attribute);
    let flake = flake_reference(host.flake.as_str(), &attribute);
    let reproduction = build(setting, session, &flake).await?;
    // Nothing of the closure is touched by building it again: Nix compares, and throws the second output away.
    if setting.selection.needs(Need::RepeatedBuilds) {
        witness.repeated_builds = Observed::of(builds::repeat(session, &reproduction.closure).await?);
    }
    if setting.selection.needs(Need::SourceForms) {
        let path = path_reference(host.flake.as_str(), &attribute);
        witness.source_forms =
            Observed::of(builds::source_forms(session, &flake, &reproduction.toplevel, &path).await?);
    }
    witness.reproduction = Observed::of(reproduction);
    Ok(())
}

async fn build(setting: &Setting<'_>, session: &Session, flake: &str) -> Result<Reproduction, RunError> {
    session.install_observer().await?;
    let committed = setting.committed().await;
    session.clone_host(&setting.network, &committed.commit).await?;
    let configuration = nix(session, "evaluating the flake", &["eval", "--json", flake, "--apply", COVERAGE]).await?;
    let configuration: EvaluatedConfiguration = serde_json::from_slice(&configuration)
        .map_err(|source| RunError::Observer { subcommand: "nix eval".to_owned(), source })?;
    let target = format!("{flake}.{TOPLEVEL}");
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
    session.must(step, &builds::nix(arguments)).await
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
