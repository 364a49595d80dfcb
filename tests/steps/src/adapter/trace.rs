//! Remembers which step is running, for the message of a scenario that is stopped, and says where a step panicked.

use std::{panic, sync::Mutex, sync::PoisonError};

use cucumber::{
    Event, World, Writer, cli, event::Cucumber, event::Feature, event::Rule, event::Scenario, event::Step, parser,
    writer,
};

static CURRENT: Mutex<String> = Mutex::new(String::new());

/// The step that is running, or that ran last.
pub(super) fn current_step() -> String {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Says on standard error where a panic came from; its message is in cucumber's own output.
pub(super) fn report_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(String::new, ToString::to_string);
        eprintln!("step panicked at {place}: {}", current_step());
    }));
}

/// A writer that writes nothing and remembers the step which began last.
pub(super) struct CurrentStep;

impl<W: World> Writer<W> for CurrentStep {
    type Cli = cli::Empty;

    async fn handle_event(&mut self, event: parser::Result<Event<Cucumber<W>>>, _: &Self::Cli) {
        let Ok(event) = event else { return };
        let scenario = match event.into_inner() {
            Cucumber::Feature(_, Feature::Scenario(_, s) | Feature::Rule(_, Rule::Scenario(_, s))) => s.event,
            _ => return,
        };
        if let Scenario::Background(step, Step::Started) | Scenario::Step(step, Step::Started) = scenario {
            *CURRENT.lock().unwrap_or_else(PoisonError::into_inner) =
                format!("{} {} (line {})", step.keyword.trim(), step.value, step.position.line);
        }
    }
}

impl writer::Normalized for CurrentStep {}
