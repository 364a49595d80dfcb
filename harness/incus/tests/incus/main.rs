//! Against a real incusd of each test's own, with containers. They need root, Debian's
//! `incus-base`, `incus-client`, `btrfs-progs`, `lxcfs` and `microsocks`, and an image in the cache.

mod bench;
mod daemon;
mod lifecycle;
mod outages;
mod provider;
mod refusals;

use bench::trial;
use libtest_mimic::{Arguments, Trial};

fn main() {
    coldproof_machines::helper::dispatch(&[coldproof_incus::provider::REMOTE]);
    let trials: Vec<Trial> = vec![
        trial("an_instance_lives_from_creation_to_removal", lifecycle::whole_life),
        trial("commands_round_trip", lifecycle::commands),
        trial("certificates_that_are_refused_are_told_apart", refusals::certificates),
        trial("a_wrong_project_is_named", refusals::wrong_project),
        trial("a_refused_creation_leaves_nothing_and_touches_nothing", refusals::creations),
        trial("a_machine_is_made_within_its_budget_and_leaves_nothing", provider::machine),
        trial("eight_machines_fit_at_once_and_a_ninth_does_not", provider::eight_at_once),
        trial("only_what_lost_its_owner_is_reaped", provider::reaped),
        trial("only_what_is_ours_and_has_expired_is_removed", provider::expired),
        trial("a_full_pool_leaves_nothing", refusals::full_disk),
        trial("a_proxy_that_is_down_or_dies_is_named", outages::proxy),
        trial("what_a_killed_server_left_half_made_is_removed", outages::restart),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
