//! Builds the observer, so that one `cargo build` of the workspace suffices.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const PACKAGE: &str = "coldproof-observer";
const BINARY: &str = "observer";
/// Declared in the workspace's manifest: small and stripped.
const PROFILE: &str = "observer";

/// The guest has neither our libc nor our libraries.
const STATIC: &str = "-Ctarget-feature=+crt-static";

/// What the observer is built of, from the workspace's root. Its dependencies' versions are in the lock file.
const SOURCES: &[&str] = &["Cargo.lock", "harness/evidence", "harness/leaks", "harness/observer"];

/// What the outer build sets for itself: another compiler (clippy's driver), its flags, and where it writes.
const FOREIGN: &[&str] =
    &["CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "CLIPPY_ARGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("building the observer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or("this crate is not in its workspace")?;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    // A build in the shared target directory would wait for the lock that the outer build holds.
    let target_dir = out.join("observer-target");
    // Without an explicit target the flags would also meet build scripts and macros, which cannot be static.
    let target = variable("TARGET")?;
    if !target.ends_with("-linux-gnu") {
        return Err(format!("{target} cannot run in a Linux guest: build for a *-linux-gnu target"));
    }
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(root).args(["build", "--locked", "--package", PACKAGE, "--bin", BINARY, "--profile", PROFILE]);
    cargo.args(["--target", &target, "--target-dir"]).arg(&target_dir);
    FOREIGN.iter().for_each(|name| {
        cargo.env_remove(name);
    });
    cargo.env("CARGO_ENCODED_RUSTFLAGS", STATIC);
    let status = cargo.status().map_err(|error| format!("cannot start cargo: {error}"))?;
    if !status.success() {
        return Err(format!("`cargo build --package {PACKAGE}` failed ({status}); its errors are above"));
    }
    let binary = target_dir.join(&target).join(PROFILE).join(BINARY);
    fs::copy(&binary, out.join(BINARY)).map_err(|error| format!("{}: {error}", binary.display()))?;
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}; build with cargo"))
}
