//! The `coldproof` command.
fn main() -> anyhow::Result<()> {
    Ok(())
}
