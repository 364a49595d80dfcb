//! Live progress on stderr: spinners on a terminal, plain lines elsewhere.

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use coldproof_testbed::run::{Phase, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Shows every running phase in a line of its own.
pub(crate) struct Display {
    lines: MultiProgress,
    running: Mutex<BTreeMap<Phase, Line>>,
    terminal: bool,
}

struct Line {
    bar: ProgressBar,
    said: String,
}

impl Display {
    pub(crate) fn new() -> Self {
        Self { lines: MultiProgress::new(), running: Mutex::default(), terminal: std::io::stderr().is_terminal() }
    }

    /// Takes whatever is still shown off the screen.
    pub(crate) fn finish(&self) {
        for line in self.lock().values() {
            line.bar.finish_and_clear();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Phase, Line>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: &str) {
        if self.terminal {
            // A line that cannot be drawn is no reason to end a run.
            let _ = self.lines.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}

impl Progress for Display {
    fn began(&self, phase: Phase) {
        let bar = if self.terminal {
            let bar = self.lines.add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner} {prefix:<14} {elapsed:>4}  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(phase.name());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            ProgressBar::hidden()
        };
        self.lock().insert(phase, Line { bar, said: String::new() });
    }

    fn detail(&self, phase: Phase, text: &str) {
        let mut running = self.lock();
        let Some(line) = running.get_mut(&phase).filter(|line| line.said != text) else {
            return;
        };
        text.clone_into(&mut line.said);
        line.bar.set_message(text.to_owned());
        drop(running);
        if !self.terminal {
            eprintln!("  {:<14} {text}", phase.name());
        }
    }

    fn ended(&self, phase: Phase, milliseconds: u64) {
        if let Some(line) = self.lock().remove(&phase) {
            line.bar.finish_and_clear();
        }
        self.say(&format!("· {:<14} {:>6.1} s", phase.name(), Duration::from_millis(milliseconds).as_secs_f64()));
    }

    fn note(&self, line: &str) {
        self.say(line);
    }
}
