//! Machines on an Incus server, over its REST API: mutual TLS, through a SOCKS5 proxy where one is named.
//!
//! A [`Client`](client::Client) speaks to one project of a [`Server`](server::Server). Whatever
//! it makes bears a [`Mark`](mark::Mark), and it touches nothing else.

mod budget;
pub mod client;
mod connection;
pub mod error;
pub mod exec;
mod expired;
mod file;
mod http;
pub mod image;
pub mod instance;
mod machine;
pub mod mark;
mod operation;
mod program;
pub mod provider;
pub mod server;
pub mod state;
mod tls;
mod websocket;
