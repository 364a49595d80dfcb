//! The static binary that observes from inside the guest.
fn main() {}
