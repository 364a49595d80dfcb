//! What stands between the guest and the world: the git server and the proxy that it may use, and the packet capture
//! that shows what else it tried.

mod accept;
pub mod connect_proxy;
pub mod credential;
pub mod egress;
mod git_backend;
mod git_path;
pub mod git_server;
#[cfg(test)]
mod git_server_tests;
mod packet;

pub use connect_proxy::{ConnectProxy, ConnectRequest};
pub use credential::Credential;
pub use egress::DeclaredDestination;
pub use git_server::{GitClient, GitRequest, GitServer};
