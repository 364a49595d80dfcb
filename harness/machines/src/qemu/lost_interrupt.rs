//! A boot that QEMU's emulation holds up for ever.
//!
//! Under translation with several processors, QEMU now and then loses the end of a timer's interrupt while Linux boots (seen
//! with 10.0.2, in one boot of ten to thirty): the local APIC has it in service for good, takes no other of its priority or below, and the
//! processor waits for what never comes. No guest can bring that about or out: Linux acknowledges an interrupt before it
//! serves it, and halts after.

use std::{future::pending, time::Duration};

use super::qmp::{Commands, QmpError};

/// How often it is looked for. Few boots last much longer.
const INTERVAL: Duration = Duration::from_secs(5);
/// How many looks in a row have to find the same. An interrupt is in service for microseconds.
const LOOKS: usize = 3;

/// Waits until a processor has been seen to wait with an interrupt in service, and says which. For ever if none has.
pub(super) async fn seen(commands: &mut Commands, cpus: u32) -> String {
    let mut found: Vec<Option<String>> = Vec::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        match look(commands, cpus).await {
            Ok(stuck) => found.push(stuck),
            // A QEMU that cannot be asked has ended, or has no such monitor; either is told by others.
            Err(error) => {
                tracing::debug!(%error, "looking for lost interrupts");
                return pending().await;
            }
        }
        let last = &found[found.len().saturating_sub(LOOKS)..];
        if let Some(Some(stuck)) = last.first()
            && last.len() == LOOKS
            && last.iter().all(|look| look.as_ref() == Some(stuck))
        {
            return stuck.clone();
        }
    }
}

async fn look(commands: &mut Commands, cpus: u32) -> Result<Option<String>, QmpError> {
    let registers = commands.monitor("info registers -a").await?;
    for cpu in 0..cpus {
        let apic = commands.monitor(&format!("info lapic {cpu}")).await?;
        if let Some(vector) = in_service(&apic).filter(|_| is_halted(&registers, cpu)) {
            return Ok(Some(format!("processor {cpu} waits with interrupt {vector} in service")));
        }
    }
    Ok(None)
}

/// Whether the processor waits for an interrupt, by what `info registers -a` prints.
fn is_halted(registers: &str, cpu: u32) -> bool {
    let of_cpu = registers
        .split("CPU#")
        .find_map(|text| text.strip_prefix(&format!("{cpu}\r\n")).or_else(|| text.strip_prefix(&format!("{cpu}\n"))));
    of_cpu.is_some_and(|text| text.contains("HLT=1"))
}

/// The interrupt that a local APIC has in service, by what `info lapic` prints.
fn in_service(apic: &str) -> Option<u8> {
    let line = apic.lines().find_map(|line| line.trim().strip_prefix("ISR"))?;
    line.split_whitespace().filter_map(|word| word.parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// What QEMU printed of a boot that was held up.
    const REGISTERS: &str = "\r\nCPU#0\r\nRIP=ffffffff81cb00df RFL=00000202 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\r\n\r\n\
                             CPU#1\r\nRIP=ffffffff81cb00df RFL=00000212 [----A--] CPL=0 II=0 A20=1 SMM=0 HLT=0\r\n";

    #[rstest]
    #[case(0, true)]
    #[case(1, false)]
    #[case(2, false)]
    fn a_processor_waits_or_not(#[case] cpu: u32, #[case] expected: bool) {
        assert_eq!(is_halted(REGISTERS, cpu), expected);
        assert_eq!(is_halted(&REGISTERS.replace('\r', ""), cpu), expected);
    }

    #[rstest]
    #[case::stuck(
        "dumping local APIC state for CPU 0\n\nTimer\t DCR=0x3\nSPIV\t 0x000001ff\nISR\t 236 \nIRR\t 33 236 \n",
        Some(236)
    )]
    #[case::several("ISR\t 33 236 \n", Some(236))]
    #[case::idle("ISR\t (none)\nIRR\t (none)\n", None)]
    #[case::no_apic("", None)]
    fn an_interrupt_is_in_service_or_not(#[case] apic: &str, #[case] expected: Option<u8>) {
        assert_eq!(in_service(apic), expected);
    }
}
