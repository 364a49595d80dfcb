//! Recompiles the crate when a file is added to the flake, which the macro that embeds it would not notice.

fn main() {
    println!("cargo::rerun-if-changed=flake");
}
