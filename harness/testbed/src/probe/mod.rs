//! Looking at the guest from outside: TLS handshakes and HTTP requests to the machine's own leased address.
//!
//! Nothing here asks DNS, follows a redirect, reads a proxy from the environment or judges what it sees.

mod client_hello;
mod connect;
pub mod http;
mod names;
pub mod refusal;
pub mod tls;
mod witness;

#[cfg(test)]
mod tests;

pub use names::{ProbeName, probe_names};
