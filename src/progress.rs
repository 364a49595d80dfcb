//! Live progress on stderr: a line for each running phase on a terminal, plain lines elsewhere.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coldproof_testbed::run::{Phase, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::say;

/// What is drawn. There is one terminal, whatever runs; log lines have to go around what is drawn on it.
static LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Writes log lines to stderr, above whatever is drawn there.
pub(crate) struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Shows every running phase in a line of its own: what it is, for how long, and what it does.
pub(crate) struct Display {
    running: Mutex<BTreeMap<Phase, Line>>,
    terminal: bool,
}

struct Line {
    bar: ProgressBar,
    text: String,
    memory: Option<u64>,
}

impl Line {
    fn message(&self) -> String {
        match self.memory {
            Some(bytes) => format!("{:>4} MiB  {}", bytes >> 20, self.text),
            None => self.text.clone(),
        }
    }
}

/// A line that stays, above whatever is drawn.
pub(crate) fn lasting(line: &str) {
    if io::stderr().is_terminal() {
        // A line that cannot be drawn is no reason to end a run.
        let _ = LINES.println(line);
    } else {
        say(line);
    }
}

/// A line for what goes on now; hidden where there is no terminal.
pub(crate) fn live(name: &str, width: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = LINES.add(ProgressBar::new_spinner());
    let style = ProgressStyle::with_template(&format!("{{spinner}} {{prefix:<{width}}} {{elapsed:>4}}  {{wide_msg}}"));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

impl Display {
    pub(crate) fn new() -> Self {
        Self { running: Mutex::default(), terminal: std::io::stderr().is_terminal() }
    }

    /// Takes whatever is still shown off the screen.
    pub(crate) fn finish(&self) {
        for line in self.lock().values() {
            line.bar.finish_and_clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Phase, Line>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the line of a running phase, and shows it if `change` says that it is another one.
    fn change(&self, phase: Phase, change: impl FnOnce(&mut Line) -> bool) -> bool {
        let mut running = self.lock();
        let Some(line) = running.get_mut(&phase) else { return false };
        let changed = change(line);
        if changed {
            line.bar.set_message(line.message());
        }
        changed
    }
}

impl Progress for Display {
    fn began(&self, phase: Phase) {
        let line = Line { bar: live(phase.name(), 13), text: String::new(), memory: None };
        self.lock().insert(phase, line);
    }

    fn detail(&self, phase: Phase, text: &str) {
        let text = printable(text);
        let changed = self.change(phase, |line| {
            let changed = line.text != text;
            line.text.clone_from(&text);
            changed
        });
        if changed && !self.terminal {
            say(format_args!("  {:<14} {text}", phase.name()));
        }
    }

    fn memory(&self, phase: Phase, bytes: u64) {
        self.change(phase, |line| line.memory.replace(bytes) != Some(bytes));
    }

    fn ended(&self, phase: Phase, milliseconds: u64) {
        if let Some(line) = self.lock().remove(&phase) {
            line.bar.finish_and_clear();
        }
        lasting(&format!("· {:<13} {:>6.1} s", phase.name(), Duration::from_millis(milliseconds).as_secs_f64()));
    }

    fn note(&self, line: &str) {
        lasting(line);
    }
}

/// A guest's words without what would move the cursor or change colours (ECMA-48 control sequences).
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' && characters.next_if_eq(&'[').is_some() {
            // Parameters, up to and with the final byte.
            characters.by_ref().find(|c| ('@'..='~').contains(c));
        } else if character.is_whitespace() {
            printable.push(' ');
        } else if !character.is_control() {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("copying 3 paths…", "copying 3 paths…")]
    #[case("\u{1b}[32;1mstarting\u{1b}[0m unit", "starting unit")]
    #[case("10%\r20%\tdone\u{7}", "10% 20% done")]
    #[case("\u{1b}[2J\u{1b}[H\u{1b}c", "c")]
    fn a_guest_cannot_paint_on_the_terminal(#[case] said: &str, #[case] shown: &str) {
        assert_eq!(printable(said), shown);
    }

    #[test]
    fn a_line_shows_memory_before_words() {
        let mut line = Line { bar: ProgressBar::hidden(), text: "building".to_owned(), memory: None };
        assert_eq!(line.message(), "building");
        line.memory = Some(199 << 20);
        assert_eq!(line.message(), " 199 MiB  building");
    }
}
