//! What the tracer has its guest do: each function is one command there.

use std::{collections::BTreeMap, time::Duration};

use coldproof_evidence::rebuild::RebuildObservation;
use coldproof_machines::{deadline::Deadline, guest::GuestCommand};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{
    drop_in::{Answer, Commands, DIR, object_path},
    order::{self, UnitProperties},
};
use crate::run::{Phase, RunError, guest::Session, rebuild, setting::Setting};

/// What runs in the guest, by the name that it has there.
const PROGRAMS: [(&str, &str); 3] = [
    ("guest.sh", include_str!("guest.sh")),
    ("gate.sh", include_str!("gate.sh")),
    ("strace.sh", include_str!("strace.sh")),
];

/// The guest of the tracer.
pub(super) struct Tracer<'a> {
    pub(super) setting: &'a Setting<'a>,
    session: Session,
}

/// How a meeting of two units went.
pub(super) struct Met {
    /// Whether the two met.
    pub(super) encounter: Encounter,
    /// Each unit that failed, to its last words.
    pub(super) failed: BTreeMap<String, String>,
}

/// Whether two units met.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Encounter {
    /// One ran to its end while the other stood still.
    Met,
    /// One did not come to its end before the other went on.
    Waited,
    /// The first one came to its end, or to the limit, without the call at which it was to be stopped.
    Missed,
}

impl<'a> Tracer<'a> {
    pub(super) const fn new(setting: &'a Setting<'a>, session: Session) -> Self {
        Self { setting, session }
    }

    /// Says what is being done.
    pub(super) fn tell(&self, line: &str) {
        self.setting.stopwatch.detail(Phase::Trace, line);
    }

    /// Bootstraps and switches as on the subject, but for the services, which are held back.
    pub(super) async fn switch_without_units(&self) -> Result<RebuildObservation, RunError> {
        let (setting, session) = (self.setting, &self.session);
        self.tell("switching without starting units");
        session.install_observer().await?;
        session.deliver_key(&setting.key, &setting.expectations.bootstrap.path).await?;
        let committed = setting.committed().await;
        session.clone_host(&setting.network, &committed.commit).await?;
        session.script("making the tracer's directory", "install -d -m0755 \"$1\"", &[DIR]).await?;
        for (name, text) in PROGRAMS {
            let bytes = Zeroizing::new(text.as_bytes().to_vec());
            session.guest.push(bytes, &format!("{DIR}/{name}"), 0o755, session.deadline).await?;
        }
        self.must("holding the units back", &["gate"]).await?;
        rebuild::switch(setting, session, Phase::Trace, "traced-switch").await
    }

    /// Every unit that had a job in the switch, with its place among the others.
    pub(super) async fn units(
        &self,
        switch: &RebuildObservation,
    ) -> Result<BTreeMap<String, UnitProperties>, RunError> {
        let mut names: Vec<&str> = switch.jobs.iter().map(|job| job.unit.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let property = format!("--property={}", order::PROPERTIES);
        let command = GuestCommand::new(["systemctl", "show", &property, "--"].iter().chain(&names).copied());
        let text = self.session.must("reading the order of the units", &command).await?;
        Ok(order::parse(&String::from_utf8_lossy(&text)))
    }

    /// Has every service that was held back start traced from now on, and returns their names.
    pub(super) async fn prepare(&self) -> Result<Vec<String>, RunError> {
        let held = self.must("reading which units were held back", &["held"]).await?;
        let held: Vec<String> = held.lines().map(str::to_owned).collect();
        for unit in &held {
            let commands: Answer<Commands> = self
                .busctl(&[
                    "call",
                    "org.freedesktop.systemd1",
                    &object_path(unit),
                    "org.freedesktop.DBus.Properties",
                    "GetAll",
                    "s",
                    "org.freedesktop.systemd1.Service",
                ])
                .await?;
            let [commands] = &commands.data;
            let directory = format!("/run/systemd/system/{unit}.d");
            self.session.script("making a drop-in", "mkdir -p -- \"$1\"", &[&directory]).await?;
            let bytes = Zeroizing::new(commands.drop_in(unit).into_bytes());
            let path = format!("{directory}/zz-coldproof-race.conf");
            self.session.guest.push(bytes, &path, 0o644, self.deadline()).await?;
        }
        self.must("preparing the first state", &["prepare"]).await?;
        Ok(held)
    }

    /// Stops the units and brings the first state back, for the `number`th time.
    pub(super) async fn rewind(&self, number: usize, units: &[String]) -> Result<(), RunError> {
        let number = number.to_string();
        let units = units.iter().rev().map(String::as_str);
        let words: Vec<&str> = ["rewind", &number].into_iter().chain(units).collect();
        self.must("bringing the first state back", &words).await.map(drop)
    }

    /// Starts a unit that then has at most `limit`, and returns systemd's result of it.
    pub(super) async fn start(&self, unit: &str, limit: Duration, traced: bool) -> Result<String, RunError> {
        let command = if traced { "run" } else { "run_untraced" };
        let result = self.must("starting a unit", &[command, unit, &seconds(limit)]).await?;
        Ok(result.trim().to_owned())
    }

    /// What strace has written of a unit so far.
    pub(super) async fn trace(&self, unit: &str) -> Result<String, RunError> {
        self.must("reading a trace", &["traces", unit]).await
    }

    /// Stops one unit after its first `call` on `path`, runs the other meanwhile, and lets the first one go on.
    pub(super) async fn meet(
        &self,
        stopped: &str,
        call: &str,
        path: &str,
        meanwhile: &str,
        limit: Duration,
    ) -> Result<Met, RunError> {
        let words = ["meet", stopped, call, path, meanwhile, &seconds(limit)];
        let text = self.must("making two units meet", &words).await?;
        let mut lines = text.lines();
        let encounter = match lines.next() {
            Some("met") => Encounter::Met,
            Some("waited") => Encounter::Waited,
            _ => Encounter::Missed,
        };
        let failed = lines.filter_map(|line| {
            let mut fields = line.splitn(3, '\t');
            let (unit, result, words) = (fields.next()?, fields.next()?, fields.next()?);
            let failed = !["success", "exec-condition"].contains(&result);
            failed.then(|| (unit.to_owned(), self.setting.clean(words)))
        });
        Ok(Met { encounter, failed: failed.collect() })
    }

    /// Runs one command of `guest.sh`. Each has the machine's whole deadline: there may be many units.
    async fn must(&self, step: &str, words: &[&str]) -> Result<String, RunError> {
        let session = Session { deadline: self.deadline(), ..self.session.clone() };
        let program = format!("{DIR}/guest.sh");
        let command = GuestCommand::new(["bash", &program].iter().chain(words).copied());
        let bytes = session.must(step, &command).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn busctl<T: DeserializeOwned>(&self, words: &[&str]) -> Result<T, RunError> {
        let command = GuestCommand::new(["busctl", "--json=short"].iter().chain(words).copied());
        let bytes = self.session.must("reading the commands of a unit", &command).await?;
        serde_json::from_slice(&bytes).map_err(|source| RunError::Observer { subcommand: "busctl".to_owned(), source })
    }

    fn deadline(&self) -> Deadline {
        Deadline::after(self.setting.host.machine.deadline.into())
    }
}

fn seconds(limit: Duration) -> String {
    limit.as_secs().to_string()
}
