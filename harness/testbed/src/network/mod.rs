//! What stands between the guest and the world: the git server and the proxy that it may use, and the packet capture
//! that shows what else it tried.

mod accept;
pub mod credential;
mod git_backend;
mod git_path;
pub mod git_server;

pub use credential::Credential;
pub use git_server::{GitClient, GitRequest, GitServer};
