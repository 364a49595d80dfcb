//! The adapter's own tests. Each directory in `fixtures` is a features directory whose header states what must become of it.
//!
//! This binary is both sides: with `FIXTURE` in its environment it is a test binary over that directory, as nextest would
//! run it; without, it runs itself that way and judges exit code and output.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};
use coldproof_steps::{StepResult, adapter};
use cucumber::{World, given, when};
use libtest_mimic::{Arguments, Failed, Trial};

/// Exit codes of a test binary: passed, failed (libtest's own), unusable.
const CODES: [(&str, i32); 3] = [("pass", 0), ("fail", 101), ("unusable", 2)];

#[derive(Debug, World)]
#[world(init = Self::new)]
struct Toy;

impl Toy {
    fn new() -> Result<Self> {
        let broken = std::env::var("FIXTURE").is_ok_and(|dir| dir.ends_with("failing_world"));
        ensure!(!broken, "the world is broken");
        Ok(Self)
    }
}

#[given("nothing")]
fn nothing(_: &mut Toy) {}

#[when("it works")]
fn works(_: &mut Toy) {}

#[when("it is ambiguous")]
fn ambiguous(_: &mut Toy) {}

#[when(regex = "^it is ambi.*$")]
fn ambiguous_too(_: &mut Toy) {}

#[when("the connection is reset")]
fn reset(_: &mut Toy) -> StepResult {
    let error = std::io::Error::other("connection reset");
    Err(anyhow::Error::from(error).context("reading the leaf").into())
}

#[when("it panics")]
fn panics(_: &mut Toy) {
    panic!("as it was told to");
}

#[when("it works at the second attempt")]
fn second_attempt(_: &mut Toy) {
    static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    let attempt = ATTEMPTS.fetch_add(1, Ordering::SeqCst) + 1;
    assert!(attempt > 1, "attempt {attempt}");
}

#[when("it never ends")]
async fn never_ends(_: &mut Toy) {
    eprintln!("waiting");
    std::future::pending::<()>().await;
}

fn main() -> ExitCode {
    if let Some(dir) = std::env::var_os("FIXTURE") {
        return adapter::main::<Toy>(Path::new(&dir));
    }
    let mut trials = vec![
        trial("an_unknown_name_is_an_error", unknown_name),
        trial("an_empty_selection_is_an_error", empty_selection),
        trial("nothing_but_the_list_is_on_stdout", only_the_list),
        trial("sigterm_names_the_running_step", sigterm),
    ];
    trials.extend(
        fixtures().into_iter().map(|name| trial(&format!("fixture::{name}"), move || as_the_header_says(&name))),
    );
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::test(name, move || test().map_err(|e| Failed::from(format!("{e:#}"))))
}

fn directory(fixture: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture)
}

fn fixtures() -> Vec<String> {
    let entries = fs::read_dir(directory("")).expect("tests/fixtures is part of the crate");
    let mut names: Vec<_> = entries.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "endless");
    names.sort();
    names
}

/// This binary over one fixture.
fn over(fixture: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("Linux knows the running program"));
    command.args(arguments).env("FIXTURE", directory(fixture)).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn header<'a>(feature: &'a str, key: &str) -> Option<&'a str> {
    feature.lines().find_map(|l| l.strip_prefix("# ")?.strip_prefix(key)?.strip_prefix(": "))
}

fn as_the_header_says(fixture: &str) -> Result<()> {
    let file = fs::read_dir(directory(fixture))?.next().context("an empty fixture")??.path();
    let feature = fs::read_to_string(&file)?;
    let expect = header(&feature, "expect").context("no `# expect:` in the header")?;
    let (_, code) = CODES.iter().find(|(word, _)| *word == expect).context("unknown expectation")?;
    let output = over(fixture, &[]).output()?;
    let text = text(&output);
    ensure!(output.status.code() == Some(*code), "{} instead of {code}:\n{text}", output.status);
    let says = header(&feature, "says").unwrap_or_default();
    ensure!(text.contains(says), "does not say {says:?}:\n{text}");
    Ok(())
}

fn unknown_name() -> Result<()> {
    let output = over("passing", &["--exact", "passing::no_such_scenario"]).output()?;
    ensure!(output.status.code() == Some(2), "{}", text(&output));
    ensure!(text(&output).contains("no scenario is named"), "{}", text(&output));
    Ok(())
}

fn empty_selection() -> Result<()> {
    let output = over("passing", &["--skip", "passing"]).output()?;
    ensure!(output.status.code() == Some(2), "{}", text(&output));
    Ok(())
}

fn only_the_list() -> Result<()> {
    let output = over("passing", &["--list", "--format", "terse"]).output()?;
    let stdout = String::from_utf8(output.stdout)?;
    let expected = "passing::an_example_for_operator: test\n\
                    passing::an_example_for_verifier: test\n\
                    passing::a_rule_s_scenarios_are_found::a_step_that_passes: test\n";
    ensure!(stdout == expected, "{stdout}");
    Ok(())
}

fn sigterm() -> Result<()> {
    let mut child = over("endless", &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stderr = BufReader::new(child.stderr.take().context("piped")?);
    let waiting = stderr.lines().map_while(Result::ok).any(|line| line == "waiting");
    ensure!(waiting, "the step never began");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    let output = child.wait_with_output()?;
    let expected = "SIGTERM (nextest's time limit) during step: When it never ends (line 4)";
    if !text(&output).contains(expected) {
        bail!("does not say {expected:?}:\n{}", text(&output));
    }
    Ok(())
}
