//! For build scripts: builds a program of the workspace as a static one, so that one `cargo build` suffices for a crate
//! that carries it into guests.

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// Declared in the workspace's manifest: small and stripped.
const PROFILE: &str = "observer";

/// A guest has neither our libc nor our libraries.
const STATIC: &str = "-Ctarget-feature=+crt-static";

/// What the outer build sets for itself: another compiler (clippy's driver), its flags, and where it writes.
const FOREIGN: &[&str] =
    &["CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "CLIPPY_ARGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS"];

/// A program to carry along.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Its package.
    pub package: &'a str,
    /// Its name, and that of the file in `OUT_DIR`.
    pub binary: &'a str,
    /// What it is built of, from the workspace's root. Its dependencies' versions are in the lock file.
    pub sources: &'a [&'a str],
}

impl Program<'_> {
    /// Builds the program into `OUT_DIR`; to be called by a build script of a crate two levels below the root.
    ///
    /// # Errors
    /// A message for whoever builds.
    pub fn build(&self) -> Result<(), String> {
        let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
        let root = manifest.ancestors().nth(2).ok_or("this crate is not in its workspace")?;
        for source in self.sources.iter().chain(&["Cargo.lock"]) {
            let changed = writeln!(io::stdout(), "cargo::rerun-if-changed={}", root.join(source).display());
            changed.map_err(|error| format!("speaking to cargo: {error}"))?;
        }
        let out = PathBuf::from(variable("OUT_DIR")?);
        let binary = self.compile(root, &out)?;
        fs::copy(&binary, out.join(self.binary)).map_err(|error| format!("{}: {error}", binary.display()))?;
        Ok(())
    }

    fn compile(&self, root: &Path, out: &Path) -> Result<PathBuf, String> {
        // A build in the shared target directory would wait for the lock that the outer build holds.
        let target_dir = out.join(format!("{}-target", self.binary));
        // Without an explicit target the flags would also meet build scripts and macros, which cannot be static.
        let target = variable("TARGET")?;
        if !target.ends_with("-linux-gnu") {
            return Err(format!("{target} cannot run in a Linux guest: build for a *-linux-gnu target"));
        }
        let mut cargo = Command::new(variable("CARGO")?);
        cargo.current_dir(root).args(["build", "--locked", "--package", self.package, "--bin", self.binary]);
        cargo.args(["--profile", PROFILE, "--target", &target, "--target-dir"]).arg(&target_dir);
        for name in FOREIGN {
            cargo.env_remove(name);
        }
        cargo.env("CARGO_ENCODED_RUSTFLAGS", STATIC);
        let status = cargo.status().map_err(|error| format!("cannot start cargo: {error}"))?;
        if !status.success() {
            return Err(format!("`cargo build --package {}` failed ({status}); its errors are above", self.package));
        }
        Ok(target_dir.join(target).join(PROFILE).join(self.binary))
    }
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}; build with cargo"))
}
