//! Builds the observer, so that one `cargo build` of the workspace suffices.

fn main() -> Result<(), String> {
    let sources = &["harness/evidence", "harness/leaks", "harness/observer"];
    coldproof_embed::Program { package: "coldproof-observer", binary: "observer", sources }.build()
}
