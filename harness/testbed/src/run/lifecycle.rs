//! What is done to a converged machine as a whole. Everything that is observed of a guest is then observed again.

use std::time::Instant;

use coldproof_evidence::{
    Observed,
    lifecycle::{Afterwards, Boot, LifecycleObservation},
};
use coldproof_machines::{
    deadline::Deadline,
    guest::Guest,
    provider::{BootError, Machine, MachineSize},
};

use super::{Phase, RunError, guest::Session, progress::millis, setting::Setting, subject};

/// Which boot this is, the guest's clock in microseconds, and its memory in bytes: a container has what its control
/// group grants, by either version of control groups, and no limit is written as a word or as a very large number.
const BOOT: &str =
    "echo \"$(cat /proc/sys/kernel/random/boot_id)/$(systemctl show --property=UserspaceTimestampMonotonic --value)\"
date +%s%6N
while read -r name kibibytes _; do [[ $name != MemTotal: ]] || least=$((kibibytes * 1024)); done </proc/meminfo
for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    [[ -r $file ]] && read -r limit <$file || continue
    [[ $limit == max ]] || ((limit >= least)) || least=$limit
done
echo \"$least\"";

/// What is done to the machine.
#[derive(Clone, Copy)]
pub(super) enum Action {
    /// It reboots.
    Reboot,
    /// It gets half as much memory again. Its processors stay: a container cannot have more than the computer has.
    Resize,
}

impl Action {
    const fn phase(self) -> Phase {
        match self {
            Self::Reboot => Phase::Reboot,
            Self::Resize => Phase::Resize,
        }
    }

    async fn perform(
        self,
        setting: &Setting<'_>,
        machine: &mut dyn Machine,
        deadline: Deadline,
    ) -> Result<Guest, BootError> {
        let declared = &setting.host.machine;
        match self {
            Self::Reboot => machine.reboot(deadline).await,
            Self::Resize => {
                let larger = larger(declared.memory.into());
                machine.resize(MachineSize { memory: larger, cpus: declared.cpus.into() }, deadline).await
            }
        }
    }
}

/// What becomes of a machine's memory: half as much again, in whole MiB, as providers want them.
pub(super) const fn larger(memory: u64) -> u64 {
    (memory + memory / 2) >> 20 << 20
}

/// Does it, and observes everything again. Its troubles leave it unavailable: what was observed before stands.
///
/// `session` is one with the new guest afterwards.
pub(super) async fn observe(
    action: Action,
    setting: &Setting<'_>,
    machine: &mut dyn Machine,
    session: &mut Session,
) -> Observed<LifecycleObservation> {
    session.deadline = Deadline::after(setting.host.machine.deadline.into());
    let work = act(action, setting, machine, session);
    match setting.stopwatch.time(action.phase(), work).await {
        Ok(observed) => Observed::of(observed),
        Err(error) => {
            Observed::Unavailable { cause: error.with_deadline(setting.host.machine.deadline.into()).to_string() }
        }
    }
}

async fn act(
    action: Action,
    setting: &Setting<'_>,
    machine: &mut dyn Machine,
    session: &mut Session,
) -> Result<LifecycleObservation, RunError> {
    if matches!(action, Action::Resize) {
        setting.check_growth(larger(setting.host.machine.memory.into())).await?;
    }
    let (before, since) = boot(session).await?;
    let began = Instant::now();
    let guest = match action.perform(setting, machine, session.deadline).await {
        Ok(guest) => guest,
        Err(error) if is_the_emulators(&error) => return Err(error.into()),
        // The same image took commands before: that it does not now is the doing of what was switched to.
        Err(BootError::Deadline { console, .. } | BootError::Uncontrolled { console, .. }) => {
            return Ok(LifecycleObservation { before, took_ms: millis(began), after: None, console });
        }
        Err(error) => return Err(error.into()),
    };
    session.guest = guest;
    setting.admitted_by_provider(machine);
    // How the boot went is what the observation tells.
    session.guest.settle(session.deadline).await?;
    let took_ms = millis(began);
    // It was on a RAM file system.
    session.install_observer().await?;
    let request = subject::observe_request(setting, since);
    let endpoint = |port| machine.endpoint(port);
    let (system, (tls, http)) = tokio::join!(session.observe(&request), subject::probe(setting, &endpoint));
    let after = Afterwards { boot: boot(session).await?.0, system: system?, tls, http };
    Ok(LifecycleObservation { before, took_ms, after: Some(after), console: String::new() })
}

/// Linux looks early whether the timer's interrupts come, and panics where they do not (`setup_IO_APIC`, unless it is started
/// with `no_timer_check`). An emulated machine's come late where the computer is very busy; that is no word about the host.
fn is_the_emulators(error: &BootError) -> bool {
    let (BootError::Deadline { console, .. } | BootError::Uncontrolled { console, .. }) = error else { return false };
    console.contains("IO-APIC + timer doesn't work")
}

/// The guest's boot, and its clock.
async fn boot(session: &Session) -> Result<(Boot, u64), RunError> {
    let said = session.script("reading which boot this is", BOOT, &[]).await?;
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut lines = said.lines();
    let id = lines.next().unwrap_or_default().to_owned();
    let mut number = || lines.next().and_then(|line| line.parse().ok()).unwrap_or_default();
    let at_us = number();
    Ok((Boot { id, memory_bytes: number() }, at_us))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.", true)]
    #[case("Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", false)]
    fn a_timer_that_an_emulator_was_late_with_is_no_word_about_the_host(#[case] panic: &str, #[case] emulators: bool) {
        let error = BootError::Deadline { name: "subject".to_owned(), console: format!("[    0.012000] {panic}") };
        assert_eq!(is_the_emulators(&error), emulators);
    }
}
