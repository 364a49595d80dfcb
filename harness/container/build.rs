//! Builds the guest's half of the tunnel, so that one `cargo build` of the workspace suffices.

fn main() -> Result<(), String> {
    coldproof_embed::Program { package: "coldproof-tunnel", binary: "tunnel", sources: &["harness/tunnel"] }.build()
}
