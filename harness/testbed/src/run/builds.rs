//! Building again what was built, and evaluating the same source under another name; both on the witness.

use coldproof_evidence::{
    builds::{Repeated, RepeatedBuild, RepeatedBuilds, SourceForm, SourceForms},
    guest::StorePathObservation,
};
use coldproof_machines::guest::{CommandOutput, GuestCommand};

use super::{
    RunError,
    guest::{PATH, Session, last_lines},
};

/// The system, below a host's `config`.
pub(super) const TOPLEVEL: &str = "system.build.toplevel";
/// nix-store's exit code where a second build has other bytes than the first (its manual, "Special exit codes for build
/// failure").
const NOT_DETERMINISTIC: i32 = 104;

/// Nix' new command line with these arguments.
pub(super) fn nix(arguments: &[&str]) -> GuestCommand {
    let path = format!("PATH={PATH}");
    let nix = ["env", path.as_str(), "nix", "--extra-experimental-features", "nix-command flakes"];
    GuestCommand::new(nix.iter().chain(arguments).copied())
}

/// Builds every derivation of the closure that was built on this machine once more, and has Nix compare.
pub(super) async fn repeat(session: &Session, closure: &[StorePathObservation]) -> Result<RepeatedBuilds, RunError> {
    let mut derivations = built_here(closure);
    let all: Vec<&str> = derivations.iter().map(|build| build.derivation.as_str()).collect();
    // Once for all of them: which one it was is asked only where it was one.
    if !all.is_empty() && !rebuild(session, &all).await?.success() {
        for build in &mut derivations {
            let output = rebuild(session, &[&build.derivation]).await?;
            build.result = match output.status {
                0 => Repeated::Identical,
                NOT_DETERMINISTIC => Repeated::Differs(last_line(&words(&output))),
                _ => Repeated::Failed(words(&output)),
            };
        }
    }
    Ok(RepeatedBuilds { derivations })
}

/// The derivations that were built on this machine, each to be found identical.
fn built_here(closure: &[StorePathObservation]) -> Vec<RepeatedBuild> {
    let mut builds: Vec<RepeatedBuild> = Vec::new();
    for path in closure.iter().filter(|path| path.built_here) {
        let Some(deriver) = &path.deriver else { continue };
        match builds.iter_mut().find(|build| &build.derivation == deriver) {
            Some(build) => build.outputs.push(path.path.clone()),
            None => builds.push(RepeatedBuild {
                derivation: deriver.clone(),
                outputs: vec![path.path.clone()],
                result: Repeated::Identical,
            }),
        }
    }
    builds
}

/// As `nix build --rebuild` does, which however exits with 1 whatever was wrong.
async fn rebuild(session: &Session, derivations: &[&str]) -> Result<CommandOutput, RunError> {
    let path = format!("PATH={PATH}");
    let check = ["env", path.as_str(), "nix-store", "--realise", "--check", "--keep-going"];
    let command = GuestCommand::new(check.iter().chain(derivations).copied());
    Ok(session.guest.run(&command, session.deadline).await?)
}

/// Evaluates the source under another name, beside the one from which `toplevel` was built.
pub(super) async fn source_forms(
    session: &Session,
    flake: &str,
    toplevel: &str,
    path: &str,
) -> Result<SourceForms, RunError> {
    let target = format!("{path}.{TOPLEVEL}.outPath");
    let arguments = ["eval", "--raw", "--no-write-lock-file", &target];
    let output = session.guest.run(&nix(&arguments), session.deadline).await?;
    let evaluated = if output.success() { Ok(output.stdout_text().trim().to_owned()) } else { Err(words(&output)) };
    let form = |scheme: &str, reference: &str, toplevel| SourceForm {
        scheme: scheme.to_owned(),
        reference: reference.split('#').next().unwrap_or(reference).to_owned(),
        toplevel,
    };
    Ok(SourceForms { forms: vec![form("git+file", flake, Ok(toplevel.to_owned())), form("path", path, evaluated)] })
}

fn words(output: &CommandOutput) -> String {
    last_lines(&output.stderr_text(), &output.stdout_text())
}

/// Where Nix names the output; before it, it tells which one it looks at.
fn last_line(words: &str) -> String {
    words.lines().next_back().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derivation_is_built_again_once_however_many_outputs_it_has() {
        let path = |name: &str, deriver: Option<&str>, built_here| StorePathObservation {
            path: format!("/nix/store/{name}"),
            deriver: deriver.map(str::to_owned),
            built_here,
            ..StorePathObservation::default()
        };
        let closure = [
            path("a-x", Some("/nix/store/d-x.drv"), true),
            path("a-x-doc", Some("/nix/store/d-x.drv"), true),
            path("b-substituted", Some("/nix/store/d-b.drv"), false),
            path("c-source", None, true),
        ];
        let builds = built_here(&closure);
        assert_eq!(builds.len(), 1);
        assert_eq!(builds[0].outputs, ["/nix/store/a-x", "/nix/store/a-x-doc"]);
    }
}
