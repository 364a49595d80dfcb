//! Whether one more machine fits, before it is made.

use coldproof_machines::{
    budget::{Admission, Share, refusal},
    deadline::Deadline,
    lease::Lease,
};
use reqwest::Method;
use serde::Deserialize;

use crate::{
    client::Client,
    error::IncusError,
    http::Call,
    instance::{Instance, InstanceType},
};

/// What a virtual machine without `limits.memory` gets (Incus's documentation of that key).
const DEFAULT_VM_MEMORY: u64 = 1 << 30;
/// What may be done where a machine does not fit.
const REMEDY: &str = "end one of these, make `memory` smaller, or raise `budget` under [machine.incus]";

#[derive(Deserialize)]
struct Resources {
    memory: HostMemory,
}

#[derive(Deserialize)]
struct HostMemory {
    total: u64,
}

impl Client {
    /// Lets the lease's machine in with `memory` bytes if they fit into `budget`, where one is declared, and into the
    /// host's memory, together with the limits of every running instance that we may see. The caller holds a lock, as
    /// two who ask at once would both be told that there is room.
    ///
    /// # Errors
    /// [`IncusError::OverBudget`], which lists who uses what.
    pub(crate) async fn admit(
        &self,
        lease: &Lease,
        memory: u64,
        budget: Option<u64>,
        deadline: Deadline,
    ) -> Result<Admission, IncusError> {
        let resources = Call::new(Method::GET, "/1.0/resources", "look at the host's memory");
        let host = self.get::<Resources>(resources, deadline).await?.memory.total;
        let instances = self.instances(deadline).await?;
        let running = instances.iter().filter(|i| i.is_up()).map(|i| share(i, host)).collect();
        let admission = Admission { host_bytes: host, budget_bytes: budget, running, ..Admission::default() };
        match refusal(memory, admission.room_bytes(), &admission.running) {
            Some(words) => Err(IncusError::OverBudget(format!("{words}\n{REMEDY}"))),
            None => Ok(admission.of(lease.machine(), lease.run(), memory)),
        }
    }
}

fn share(instance: &Instance, host: u64) -> Share {
    let limit = instance.expanded_config.get("limits.memory").or_else(|| instance.config.get("limits.memory"));
    let memory_bytes = match (limit.and_then(|text| parse_memory(text, host)), instance.kind) {
        (Some(memory), _) => memory,
        (None, InstanceType::VirtualMachine) => DEFAULT_VM_MEMORY,
        // Without a limit it may take all there is, and then nothing else fits.
        (None, InstanceType::Container) => host,
    };
    let owner = instance.mark().map_or_else(|| "not ours".to_owned(), |mark| format!("run {}", mark.run));
    Share { name: instance.name.clone(), owner, memory_bytes }
}

/// Bytes of a limit: a percentage of the host's, or a number with one of Incus's units.
fn parse_memory(text: &str, host: u64) -> Option<u64> {
    if let Some(percent) = text.strip_suffix('%') {
        return Some(host.saturating_mul(percent.trim().parse().ok()?) / 100);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("4GiB", Some(4 << 30))]
    #[case("1073741824B", Some(1 << 30))]
    #[case("512MB", Some(512_000_000))]
    #[case("50%", Some(500))]
    #[case("7", Some(7))]
    #[case("many", None)]
    #[case("4Gib", None)]
    fn limits(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(parse_memory(text, 1000), expected);
    }

    proptest! {
        #[test]
        fn no_limit_makes_it_panic(text in "\\PC*") {
            parse_memory(&text, u64::MAX);
        }
    }
}
