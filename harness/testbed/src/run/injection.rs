//! Seeded faults: their scripts are run at their stage.

use std::{fs, path::Path};

use coldproof_machines::provider::Machine;

use super::{RunError, guest::Session, setting::Setting};
use crate::host::{Fault, FaultStage};

impl Setting<'_> {
    /// Runs the seeded fault's script in the guest if this is its stage; says whether it was.
    pub(super) async fn inject(&self, stage: FaultStage, session: &Session) -> Result<bool, RunError> {
        let Some(fault) = self.fault_at(stage) else { return Ok(false) };
        session.inject(&read_script(fault)?).await?;
        Ok(true)
    }

    /// Runs the seeded fault's script on the controller if it is about the teardown.
    pub(super) async fn inject_at_teardown(&self, machine: &dyn Machine) -> Result<(), RunError> {
        let Some(fault) = self.fault_at(FaultStage::Teardown) else {
            return Ok(());
        };
        let console = machine.evidence().console_log;
        let lease = console.parent().unwrap_or(Path::new("/nonexistent"));
        let status = tokio::process::Command::new("bash")
            .args(["-eu".as_ref(), fault.script.as_os_str()])
            .env("LEASE", lease)
            .status()
            .await
            .map_err(RunError::io("injecting the seeded fault"))?;
        tracing::debug!(%status, "seeded fault injected at teardown");
        Ok(())
    }

    fn fault_at(&self, stage: FaultStage) -> Option<&Fault> {
        self.host.fault.as_ref().filter(|fault| fault.stage == stage)
    }
}

fn read_script(fault: &Fault) -> Result<String, RunError> {
    fs::read_to_string(&fault.script).map_err(RunError::io(format!("reading {}", fault.script.display())))
}
