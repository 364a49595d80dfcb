//! The probe guest: one page of code in a processor that KVM runs.
//!
//! A `/dev/kvm` that opens and makes machines proves nothing: on some nested hosts every guest
//! dies, because ring 0 is emulated by software that cannot decode all instructions. So the
//! page holds what a kernel holds: a loop, which an emulator runs too slowly, and an instruction
//! with a VEX prefix, which it cannot decode.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use kvm_bindings::{kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};

/// What the probe prints when the guest ran to its end.
pub(super) const USABLE: &str = "usable";

const LOAD_ADDRESS: u64 = 0x1000;
const LOOPS: u64 = 200_000;
/// A processor does the loop in under a millisecond; an emulator does some 1.4 million a second.
const LOOP_LIMIT: Duration = Duration::from_millis(50);
/// Three free pages below the top of the address space, which KVM on Intel needs for itself.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// `dec ecx; jnz -3`
const LOOP: &[u8] = &[0x49, 0x75, 0xfd];
/// `shlx eax, eax, eax`, of BMI2
const SHLX: &[u8] = &[0xc4, 0xe2, 0x79, 0xf7, 0xc0];
/// `hlt`
const HLT: &[u8] = &[0xf4];

#[repr(align(4096))]
struct Page([u8; 4096]);

/// The probe's own main. It prints one line and may be killed at any time.
pub(crate) fn main() -> ExitCode {
    let result = probe().unwrap_or_else(|error| error);
    match writeln!(io::stdout(), "{result}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn probe() -> Result<String, String> {
    let kvm = Kvm::new().map_err(|error| format!("/dev/kvm does not open ({error})"))?;
    let failed = |what: &'static str| move |error| format!("/dev/kvm opens but {what} fails ({error})");
    let vm = kvm.create_vm().map_err(failed("making a machine"))?;
    vm.set_tss_address(TSS_ADDRESS).map_err(failed("preparing a machine"))?;
    let mut page = Box::new(Page([0; 4096]));
    let code = [LOOP, if std::is_x86_feature_detected!("bmi2") { SHLX } else { &[] }, HLT].concat();
    page.0[..code.len()].copy_from_slice(&code);
    map(&vm, &page).map_err(failed("giving it memory"))?;
    let mut vcpu = vm.create_vcpu(0).map_err(failed("making a processor"))?;
    prepare(&vcpu).map_err(failed("preparing a processor"))?;
    run(&mut vcpu)
}

fn map(vm: &VmFd, page: &Page) -> Result<(), kvm_ioctls::Error> {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: LOAD_ADDRESS,
        memory_size: size_of::<Page>() as u64,
        userspace_addr: std::ptr::from_ref(page) as u64,
    };
    // SAFETY: the region is one whole page that this process owns, aligned to its size. It
    // outlives the machine, as `probe` drops the machine first, and nothing reads or writes it
    // while the guest, whose code writes nothing, runs.
    unsafe { vm.set_user_memory_region(region) }
}

/// Protected mode in ring 0, with flat segments and without paging.
fn prepare(vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    let mut special = vcpu.get_sregs()?;
    let flat = |code: bool| kvm_segment {
        limit: u32::MAX,
        selector: if code { 8 } else { 16 },
        type_: if code { 11 } else { 3 },
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    };
    special.cs = flat(true);
    for segment in [&mut special.ds, &mut special.es, &mut special.fs, &mut special.gs, &mut special.ss] {
        *segment = flat(false);
    }
    special.cr0 |= 1;
    vcpu.set_sregs(&special)?;
    let mut registers = vcpu.get_regs()?;
    registers.rip = LOAD_ADDRESS;
    // Bit 1 is always set.
    registers.rflags = 2;
    registers.rcx = LOOPS;
    vcpu.set_regs(&registers)
}

fn run(vcpu: &mut VcpuFd) -> Result<String, String> {
    let start = Instant::now();
    let end = match vcpu.run() {
        Ok(VcpuExit::Hlt) => None,
        Ok(VcpuExit::InternalError) => Some("emulation failure".to_owned()),
        Ok(other) => Some(format!("{other:?}")),
        Err(error) => Some(error.to_string()),
    };
    let elapsed = start.elapsed();
    match end {
        Some(end) => Err(format!("/dev/kvm opens but a probe guest exits with {end}")),
        None if elapsed > LOOP_LIMIT => {
            Err(format!("/dev/kvm opens but a probe guest takes {elapsed:?} for what takes a processor 1 ms"))
        }
        None => Ok(USABLE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_jumps_back_to_its_own_start() {
        // `dec` is one byte and `jnz` two: the displacement counts from the end of `jnz`.
        assert_eq!(LOOP.len() as i8 + LOOP[2] as i8, 0);
    }
}
