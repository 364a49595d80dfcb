//! The rebuild: started once, detached from every connection, followed until it ends.

use std::time::Duration;

use coldproof_evidence::rebuild::{Progress, RebuildObservation};
use coldproof_machines::guest::GuestCommand;

use super::{
    Phase, RunError,
    guest::{CHECKOUT, DIR, PATH, Session},
    setting::Setting,
};

/// How long one look at a running rebuild lasts. Each costs the guest a process, hence some of the rebuild's time.
const GLANCE: Duration = Duration::from_secs(2);

/// A rebuild that runs in the guest as a transient unit of its own.
struct Rebuild<'a> {
    session: &'a Session,
    dir: String,
}

/// How the flake is named to Nix and to the rebuild command.
pub(super) fn flake_reference(directory: &str, attribute: &str) -> String {
    let subdirectory = subdirectory(directory).map(|dir| format!("&dir={dir}")).unwrap_or_default();
    format!("git+file://{CHECKOUT}?submodules=1{subdirectory}#{attribute}")
}

/// The same flake as a plain directory, which has no history and no revision.
pub(super) fn path_reference(directory: &str, attribute: &str) -> String {
    let subdirectory = subdirectory(directory).map(|dir| format!("?dir={dir}")).unwrap_or_default();
    format!("path:{CHECKOUT}{subdirectory}#{attribute}")
}

fn subdirectory(directory: &str) -> Option<&str> {
    Some(directory.trim_matches('/')).filter(|dir| !matches!(*dir, "" | "."))
}

/// Switches the guest to the host in its checkout, once, as the transient unit `coldproof-<unit>`.
pub(super) async fn switch(
    setting: &Setting<'_>,
    session: &Session,
    phase: Phase,
    unit: &str,
) -> Result<RebuildObservation, RunError> {
    let host = &setting.host.host;
    let flake = flake_reference(host.flake.as_str(), host.attribute.as_str());
    run(setting, session, phase, unit, &["--flake", &flake]).await
}

/// Switches the guest back to the generation before the one that it runs.
pub(super) async fn roll_back(
    setting: &Setting<'_>,
    session: &Session,
    phase: Phase,
    unit: &str,
) -> Result<RebuildObservation, RunError> {
    run(setting, session, phase, unit, &["--rollback"]).await
}

async fn run(
    setting: &Setting<'_>,
    session: &Session,
    phase: Phase,
    unit: &str,
    arguments: &[&str],
) -> Result<RebuildObservation, RunError> {
    let (command, environment) = (setting.host.host.rebuild.as_str(), setting.network.guest_environment());
    let running = Rebuild::start(session, unit, command, arguments, &environment).await?;
    running.follow(setting, phase).await
}

impl<'a> Rebuild<'a> {
    /// Starts `command switch …` with these further arguments under the recorder. It is never started twice under one `name`.
    async fn start(
        session: &'a Session,
        name: &str,
        command: &str,
        arguments: &[&str],
        environment: &[(String, String)],
    ) -> Result<Self, RunError> {
        let dir = format!("{DIR}/{name}");
        let mut argv = vec![
            "systemd-run".to_owned(),
            "--quiet".to_owned(),
            format!("--unit=coldproof-{name}"),
            "--service-type=exec".to_owned(),
            "--property=MemoryAccounting=yes".to_owned(),
            "--property=CPUAccounting=yes".to_owned(),
            format!("--setenv=PATH={PATH}"),
            "--setenv=HOME=/root".to_owned(),
        ];
        argv.extend(environment.iter().map(|(k, v)| format!("--setenv={k}={v}")));
        argv.extend([&format!("{DIR}/observer"), "record", "--dir", &dir, "--", command, "switch"].map(str::to_owned));
        argv.extend(arguments.iter().map(|&argument| argument.to_owned()));
        session.must("starting the rebuild", &GuestCommand::new(argv)).await?;
        Ok(Self { session, dir })
    }

    /// Follows it until it ends, telling what it does; returns what the recorder saw.
    async fn follow(self, setting: &Setting<'_>, phase: Phase) -> Result<RebuildObservation, RunError> {
        loop {
            let progress = self.wait(GLANCE).await?;
            setting.stopwatch.memory(phase, progress.memory_bytes);
            setting.detail(phase, &progress.journal_line);
            if progress.ended {
                break;
            }
        }
        let path = format!("{}/result.json", self.dir);
        let bytes = self.session.guest.pull(&path, self.session.deadline).await?;
        serde_json::from_slice(&bytes).map_err(|source| RunError::Observer { subcommand: "record".to_owned(), source })
    }

    /// Returns when the rebuild has ended or `at_most` has passed, whichever is first.
    async fn wait(&self, at_most: Duration) -> Result<Progress, RunError> {
        let command = GuestCommand::new([
            &format!("{DIR}/observer"),
            "wait",
            "--dir",
            &self.dir,
            "--at-most-ms",
            &at_most.as_millis().to_string(),
        ]);
        let bytes = self.session.must("following the rebuild", &command).await?;
        serde_json::from_slice(&bytes).map_err(|source| RunError::Observer { subcommand: "wait".to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flake_is_named_with_its_submodules() {
        assert_eq!(flake_reference(".", "cc-ci"), "git+file:///var/lib/coldproof/checkout?submodules=1#cc-ci");
        assert_eq!(
            flake_reference("hosts/a", "a"),
            "git+file:///var/lib/coldproof/checkout?submodules=1&dir=hosts/a#a"
        );
        assert_eq!(path_reference(".", "cc-ci"), "path:/var/lib/coldproof/checkout#cc-ci");
        assert_eq!(path_reference("/hosts/a", "a"), "path:/var/lib/coldproof/checkout?dir=hosts/a#a");
    }
}
