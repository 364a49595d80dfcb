//! Step definitions. Each says one thing in the domain's words and makes one call of the harness.

mod command;
mod given;
mod lifecycle;
mod machine;
mod source;
mod tls;
