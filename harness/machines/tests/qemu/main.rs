//! Machines that really run. They need QEMU and an image: `COLDPROOF_TEST_IMAGE` names its
//! directory, or else the newest one in the cache is taken.

mod bench;
mod lifecycle;
mod network;
mod transport;

use bench::trial;
use libtest_mimic::{Arguments, Trial};

fn main() {
    coldproof_machines::helper::dispatch(&[]);
    bench::log();
    if bench::is_owner() {
        return bench::own_until_killed();
    }
    let mut trials: Vec<Trial> = vec![
        trial("a_cold_boot_takes_commands_and_leaves_nothing", lifecycle::cold_boot),
        trial("a_machine_reboots_restarts_and_resizes", lifecycle::restarts),
        trial("forks_of_a_stage_take_commands_at_once", lifecycle::forks),
        trial("forks_of_a_saved_machine_hold_what_it_held", lifecycle::saved),
        trial("a_stage_that_does_not_restore_is_deleted_and_the_machine_boots", lifecycle::broken_stage),
        trial("a_guest_that_never_boots_is_a_boot_error", lifecycle::never_boots),
        trial("a_killed_owner_leaves_no_machine", lifecycle::killed_owner),
        trial("a_kept_machine_takes_commands_until_it_is_reaped", lifecycle::kept),
        trial("commands_round_trip_and_secrets_stay_off_the_console", transport::round_trips),
        trial("a_command_past_its_deadline_is_killed_and_the_next_one_runs", transport::deadlines),
        trial("the_guest_reaches_its_services_and_nothing_else", network::isolation),
    ];
    if rustix::process::geteuid().is_root() {
        // It needs a small file system, which only root can mount.
        trials.push(trial("a_disk_that_cannot_grow_ends_a_command_at_once", lifecycle::full_disk));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
