//! What scenarios say holds no secret, nor does the JUnit report in which nextest stores it.
//!
//! This binary is both sides: with [`FEATURES`] in its environment it is a test binary over scenarios, as nextest runs it;
//! without, it has nextest run itself that way, and looks through all that comes out.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::MetadataCommand;
use coldproof_leaks::Matcher;
use coldproof_steps::{Proof, adapter, shared};
use serde_json::json;

use crate::{
    engine::Engine,
    leaks::{decrypted, finds, finished, keys},
};

/// The directory of the features, and the world that their scenarios are about.
const FEATURES: &str = "COLDPROOF_TEST_FEATURES";
const WORLD: &str = "COLDPROOF_TEST_WORLD";
/// A file whose contents every scenario says first.
const SAYS: &str = "COLDPROOF_TEST_SAYS";

/// Where the scenarios look for their worlds, which is here one for both: the committed one, and that of the fault which
/// one of them names.
const WORLDS: [&str; 2] = ["committed.world", "unit-heals-by-restart.world"];
/// The secret that the unit tells the journal.
const TOLD: &str = "drone_rpc_secret";
/// Exit code of nextest where tests failed.
const TESTS_FAILED: i32 = 100;

/// The other side, where this process is that.
pub(crate) fn scenario() -> Option<ExitCode> {
    let features = env::var_os(FEATURES)?;
    let running = env::args().any(|argument| argument == "--exact");
    if let (true, Some(file)) = (running, env::var_os(SAYS)) {
        eprintln!("{}", fs::read_to_string(file).expect("a file to say"));
    }
    let world = PathBuf::from(env::var_os(WORLD).expect("a world"));
    if running {
        for name in WORLDS {
            let link = async |path: &Path| -> Result<(), String> { symlink(&world, path).map_err(|e| e.to_string()) };
            let directory = shared::directory().expect("a shared directory");
            futures::executor::block_on(shared::once(directory, name, link)).expect("a link to the world");
        }
    }
    Some(adapter::main::<Proof>(Path::new(&features)))
}

pub(crate) fn own_output(engine: &Engine) -> Result<()> {
    let world = engine.path("world");
    finished(&engine.coldproof(&["reference", "world"]).output()?)?;
    tell_a_secret(engine, &world)?;
    let mut secrets = keys(&world.join("keys"))?;
    secrets.extend(decrypted(&world)?);
    let matcher = Matcher::new(&secrets)?;
    let nextest = Nextest::prepare(engine, &world)?;

    let (output, report) = nextest.run("one_that", None)?;
    ensure!(output.status.code() == Some(TESTS_FAILED), "{}: {report}", output.status);
    for said in ["one_that_passes", "one_that_fails", "deploy-drone.service", &format!("[{TOLD} removed]")] {
        ensure!(report.contains(said), "the report does not say {said:?}:\n{report}");
    }
    let plain = unescaped(&report);
    let places = [("report", report.as_bytes()), ("report, unescaped", plain.as_bytes())];
    for (place, bytes) in places.into_iter().chain([("output", &output.stdout[..]), ("errors", &output.stderr)]) {
        let found = finds(&matcher, bytes);
        ensure!(found.is_none(), "nextest's {place} has {}", found.unwrap_or_default());
    }

    // What a scenario does say is found, so that nothing found means something.
    let told = secrets.iter().find(|secret| secret.name == TOLD).context("the secret that is told")?;
    let file = engine.path("said");
    fs::write(&file, told.value.as_bytes())?;
    let (output, report) = nextest.run("one_that_passes", Some(&file))?;
    for (place, bytes) in [("report", report.as_bytes()), ("errors", &output.stderr)] {
        ensure!(finds(&matcher, bytes).is_some(), "a secret that was said is not found in nextest's {place}");
    }
    Ok(())
}

/// Commits a unit that tells the journal what it should keep to itself, and then fails.
fn tell_a_secret(engine: &Engine, world: &Path) -> Result<()> {
    let work = engine.path("work");
    let git = |arguments: &[&str]| -> Result<()> {
        let identity = ["-c", "user.name=operator", "-c", "user.email=operator@ci.example.test"];
        let mut git = Command::new("git");
        git.args(identity).args(["-c", "protocol.file.allow=always"]).args(arguments);
        finished(&git.current_dir(engine.path("")).output()?).map(drop)
    };
    let (base, work_path) = (world.join("base.git"), work.to_str().context("a path in UTF-8")?);
    git(&["clone", "--quiet", base.to_str().context("a path in UTF-8")?, work_path])?;
    let script = work.join("hosts/cc-ci/reconcile.sh");
    // journald has the line before the process is gone, and so knows whose it is.
    let tells = "[[ $app != drone ]] || { echo \"the forge refuses $(cat \"$1\")\"; journalctl --sync; exit 1; }\n";
    fs::write(&script, fs::read_to_string(&script)? + tells)?;
    git(&["-C", work_path, "commit", "--quiet", "--all", "--message", "Say why the forge refuses"])?;
    git(&["-C", work_path, "push", "--quiet"])
}

/// The text of an XML document's text nodes.
fn unescaped(xml: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    entities.iter().fold(xml.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// nextest over this binary, with the repository's own profile for CI. It is told of the binary and builds nothing.
struct Nextest<'e> {
    engine: &'e Engine,
    world: PathBuf,
}

impl<'e> Nextest<'e> {
    fn prepare(engine: &'e Engine, world: &Path) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let metadata = finished(&MetadataCommand::new().current_dir(root).cargo_command().output()?)?;
        let packages = MetadataCommand::parse(String::from_utf8(metadata.clone())?)?;
        let package = packages.root_package().context("a package at the root")?;
        let binary = env::current_exe()?;
        let binaries = json!({
            "rust-build-meta": {
                "target-directory": packages.target_directory,
                "base-output-directories": ["debug"],
                "non-test-binaries": {},
                "linked-paths": [],
            },
            "rust-binaries": { "coldproof::docker": {
                "binary-id": "coldproof::docker",
                "binary-name": "docker",
                "package-id": package.id,
                "kind": "test",
                "binary-path": binary,
                "build-platform": "target",
            } },
        });
        fs::write(engine.path("cargo.json"), metadata)?;
        fs::write(engine.path("binaries.json"), binaries.to_string())?;
        let store = format!("\n[store]\ndir = {:?}\n", engine.path("nextest"));
        fs::write(engine.path("nextest.toml"), fs::read_to_string(root.join(".config/nextest.toml"))? + &store)?;
        Ok(Self { engine, world: world.to_owned() })
    }

    /// What it says of the scenarios with this in their names, which say what is in the file, and the JUnit report.
    fn run(&self, named: &str, says: Option<&Path>) -> Result<(Output, String)> {
        let engine = self.engine;
        let mut command = Command::new("cargo");
        command.args(["nextest", "run", "--profile", "ci", named]).current_dir(env!("CARGO_MANIFEST_DIR"));
        // Those that pass are said as well, not stored alone.
        command.args(["--success-output", "immediate"]).arg("--config-file").arg(engine.path("nextest.toml"));
        command.arg("--cargo-metadata").arg(engine.path("cargo.json"));
        command.arg("--binaries-metadata").arg(engine.path("binaries.json"));
        // Those of the nextest that runs this test are about another run.
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NEXTEST")) {
            command.env_remove(name);
        }
        engine.provide(&mut command);
        command.env("RUST_BACKTRACE", "full").env("RUST_LOG", "trace").env(WORLD, &self.world);
        command.env(FEATURES, Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/features"));
        command.envs(says.map(|file| (SAYS, file)));
        let output = command.output().context("running cargo nextest")?;
        let report = engine.path("nextest/ci/junit.xml");
        let report = fs::read_to_string(&report)
            .with_context(|| format!("no report:\n{}", String::from_utf8_lossy(&output.stderr)))?;
        Ok((output, report))
    }
}
