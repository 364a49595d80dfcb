//! Whether one more machine fits, before it is made.

use std::fmt::Write as _;

use coldproof_machines::deadline::Deadline;
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

#[derive(Deserialize)]
struct Resources {
    memory: HostMemory,
}

#[derive(Deserialize)]
struct HostMemory {
    total: u64,
}

/// An instance that runs, and what it may take.
struct Share {
    name: String,
    owner: String,
    memory: u64,
}

impl Client {
    /// Refuses unless `memory` more bytes fit into `budget`, where one is declared, and into the host's memory, together
    /// with the limits of every running instance that we may see. The caller holds a lock, as two who ask at once
    /// would both be told that there is room.
    ///
    /// # Errors
    /// [`IncusError::OverBudget`], which lists who uses what.
    pub async fn check_budget(&self, memory: u64, budget: Option<u64>, deadline: Deadline) -> Result<(), IncusError> {
        let resources = Call::new(Method::GET, "/1.0/resources", "look at the host's memory");
        let host = self.get::<Resources>(resources, deadline).await?.memory.total;
        let instances = self.instances(deadline).await?;
        let shares: Vec<Share> = instances.iter().filter(|i| i.is_up()).map(|i| share(i, host)).collect();
        refuse_over(memory, budget, host, &shares).map_or(Ok(()), |words| Err(IncusError::OverBudget(words)))
    }
}

fn share(instance: &Instance, host: u64) -> Share {
    let limit = instance.expanded_config.get("limits.memory").or_else(|| instance.config.get("limits.memory"));
    let memory = match (limit.and_then(|text| parse_memory(text, host)), instance.kind) {
        (Some(memory), _) => memory,
        (None, InstanceType::VirtualMachine) => DEFAULT_VM_MEMORY,
        // Without a limit it may take all there is, and then nothing else fits.
        (None, InstanceType::Container) => host,
    };
    let owner = instance.mark().map_or_else(|| "not ours".to_owned(), |mark| format!("run {}", mark.run));
    Share { name: instance.name.clone(), owner, memory }
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

fn refuse_over(memory: u64, budget: Option<u64>, host: u64, shares: &[Share]) -> Option<String> {
    let taken: u64 = shares.iter().map(|share| share.memory).sum();
    let room = budget.unwrap_or(host).min(host);
    if taken.saturating_add(memory) <= room {
        return None;
    }
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let mut words = format!("a machine of {} does not fit: {} of {} are taken", mib(memory), mib(taken), mib(room));
    for share in shares {
        // Writing to a string cannot fail.
        let _ = write!(words, "\n  {} {} ({})", share.name, mib(share.memory), share.owner);
    }
    words.push_str("\nend one of these, make `memory` smaller, or raise `budget` under [machine.incus]");
    Some(words)
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

    #[test]
    fn a_refusal_lists_who_uses_what() {
        let share = Share { name: "theirs".into(), owner: "not ours".into(), memory: 3 << 30 };
        let shares = [share];
        assert_eq!(refuse_over(1 << 30, Some(4 << 30), 8 << 30, &shares), None);
        let words = refuse_over(2 << 30, Some(4 << 30), 8 << 30, &shares).unwrap();
        assert!(words.contains("theirs 3072 MiB (not ours)") && words.contains("`budget`"), "{words}");
        assert!(refuse_over(6 << 30, None, 8 << 30, &shares).is_some(), "the host's memory counts, too");
    }
}
