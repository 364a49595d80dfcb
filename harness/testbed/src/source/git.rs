//! Running git without anything of the user's own configuration, so that it does here what it does in the guest.

use std::{env, path::Path, process::Stdio, time::Duration};

use coldproof_machines::mark::Mark;
use tokio::{process::Command, time::timeout};

use super::error::SourceError;

/// What a user sets to reach the world; git and curl read these.
const PROXY_VARIABLES: &[&str] = &["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "all_proxy", "http_proxy", "https_proxy"];
/// Where a user keeps certificates of authorities of their own.
const TRUST_VARIABLES: &[&str] = &["GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_DIR", "SSL_CERT_FILE"];

/// Asking for references or reading a clone takes seconds.
pub(crate) const SHORT: Duration = Duration::from_secs(60);
/// Fetching may take long; git itself gives up on a connection that stalls.
pub(crate) const LONG: Duration = Duration::from_secs(30 * 60);

/// git, with a global configuration file of our own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Git<'a> {
    /// The configuration file, which may hold a credential.
    pub(crate) config: &'a Path,
    /// Whose process it is.
    pub(crate) mark: &'a Mark,
}

/// git ended with an error.
#[derive(Clone, Debug)]
pub(crate) struct GitFailure {
    /// The subcommand and its arguments; never a secret, since none is ever an argument.
    pub(crate) command: String,
    /// What it printed on standard error, progress left out.
    pub(crate) words: String,
}

impl Git<'_> {
    /// Runs git in `dir` and returns what it printed.
    ///
    /// # Errors
    /// The inner one when git ends with an error or takes longer than `limit`; the outer one when it cannot be run.
    pub(crate) async fn try_run(
        &self,
        dir: &Path,
        args: &[&str],
        limit: Duration,
    ) -> Result<Result<String, GitFailure>, SourceError> {
        let failed = |words: String| GitFailure { command: args.join(" "), words };
        let output = match timeout(limit, self.command(dir, args).output()).await {
            Ok(output) => output.map_err(SourceError::io("git could not be run; install git"))?,
            Err(_) => return Ok(Err(failed(format!("timed out after {} seconds", limit.as_secs())))),
        };
        if output.status.success() {
            return Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        Ok(Err(failed(words(&String::from_utf8_lossy(&output.stderr)))))
    }

    /// Runs git in `dir`, where a failure says nothing about the host definition.
    pub(crate) async fn run(&self, dir: &Path, args: &[&str], limit: Duration) -> Result<String, SourceError> {
        let result = self.try_run(dir, args, limit).await?;
        result.map_err(|GitFailure { command, words }| SourceError::Git { command, words })
    }

    fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let inherited = PROXY_VARIABLES.iter().chain(TRUST_VARIABLES).chain(&["PATH"]);
        let mut command = Command::new("git");
        command
            .args(args)
            .current_dir(dir)
            .env_clear()
            .envs(inherited.filter_map(|name| env::var_os(name).map(|value| (name, value))))
            .env("NO_PROXY", no_proxy())
            // Nothing of the user's: neither ~/.gitconfig nor ~/.netrc.
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_GLOBAL", self.config)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", "https:http")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            // Reading an operator's tree must not write to it.
            .env("GIT_OPTIONAL_LOCKS", "0")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        self.mark.put_on(command.as_std_mut());
        command
    }
}

/// The user's exceptions, and our own server, which no proxy could reach.
fn no_proxy() -> String {
    let users = env::var("no_proxy").or_else(|_| env::var("NO_PROXY"));
    format!("{},127.0.0.1", users.unwrap_or_default())
}

/// git's complaint in one line: progress and advice left out.
fn words(stderr: &str) -> String {
    let telling = |line: &&str| {
        let line = line.to_ascii_lowercase();
        ["fatal:", "error:", "remote:"].iter().any(|prefix| line.starts_with(prefix))
    };
    let told: Vec<_> = stderr.lines().map(str::trim).filter(telling).collect();
    if told.is_empty() { stderr.trim().replace('\n', "; ") } else { told.join("; ") }
}

/// What kind of trouble git's words are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The server wants a credential, or another one.
    Refused,
    /// The server knows no such repository.
    Missing,
    /// The commit is not there.
    NoSuchCommit,
    /// The server answers with a redirection.
    Redirected,
    /// The URL's protocol is not allowed.
    Protocol,
    /// This computer's own.
    Here,
    /// Everything else: name resolution, connections, time, TLS, server errors.
    Unreachable,
}

impl GitFailure {
    /// Tells the kinds of trouble apart by git's words in the C locale.
    pub(crate) fn trouble(&self) -> Trouble {
        const SIGNS: &[(&str, Trouble)] = &[
            ("no space left on device", Trouble::Here),
            ("transport '", Trouble::Protocol),
            ("protocol '", Trouble::Protocol),
            ("authentication failed", Trouble::Refused),
            ("could not read username", Trouble::Refused),
            ("could not read password", Trouble::Refused),
            ("terminal prompts disabled", Trouble::Refused),
            ("error: 401", Trouble::Refused),
            ("error: 403", Trouble::Refused),
            ("error: 30", Trouble::Redirected),
            ("not our ref", Trouble::NoSuchCommit),
            ("did not contain", Trouble::NoSuchCommit),
            ("unadvertised object", Trouble::NoSuchCommit),
            ("error: 404", Trouble::Missing),
            ("' not found", Trouble::Missing),
            ("repository not found", Trouble::Missing),
            ("does not appear to be a git repository", Trouble::Missing),
            ("not valid: is this a git repository", Trouble::Missing),
        ];
        let words = self.words.to_ascii_lowercase();
        let sign = SIGNS.iter().find(|(sign, _)| words.contains(sign));
        sign.map_or(Trouble::Unreachable, |(_, trouble)| *trouble)
    }

    /// The error to report when reading `url` failed for a reason other than a missing commit.
    pub(crate) fn into_error(self, url: &str) -> SourceError {
        let trouble = self.trouble();
        let (url, words) = (url.to_owned(), self.words);
        match trouble {
            Trouble::Refused => SourceError::Refused { url, words },
            Trouble::Missing => SourceError::Missing { url, words },
            Trouble::Redirected => SourceError::Redirected { url },
            Trouble::Protocol => SourceError::Protocol { url, words },
            Trouble::NoSuchCommit | Trouble::Here => SourceError::Git { command: self.command, words },
            Trouble::Unreachable => SourceError::Unreachable { url, words },
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("fatal: could not read Username for 'http://h': terminal prompts disabled", Trouble::Refused)]
    #[case("fatal: Authentication failed for 'http://h/a.git/'", Trouble::Refused)]
    #[case("fatal: repository 'http://h/a.git/' not found", Trouble::Missing)]
    #[case("fatal: unable to access 'http://h/': The requested URL returned error: 302", Trouble::Redirected)]
    #[case("fatal: unable to access 'http://h/': The requested URL returned error: 500", Trouble::Unreachable)]
    #[case("fatal: unable to access 'http://h/': Could not resolve host: h", Trouble::Unreachable)]
    #[case("fatal: unable to access 'http://h/': Failed to connect to h port 80", Trouble::Unreachable)]
    #[case("fatal: write error: No space left on device", Trouble::Here)]
    #[case("fatal: transport 'file' not allowed", Trouble::Protocol)]
    #[case("error: upload-pack: not our ref 0123", Trouble::NoSuchCommit)]
    #[case("timed out after 60 seconds", Trouble::Unreachable)]
    fn troubles_are_told_apart(#[case] words: &str, #[case] trouble: Trouble) {
        let failure = GitFailure { command: "clone".to_owned(), words: words.to_owned() };
        assert_eq!(failure.trouble(), trouble);
    }

    #[test]
    fn progress_is_no_complaint() {
        let stderr = "Cloning into 'x'...\nremote: Counting objects\nfatal: early EOF\nhint: try again\n";
        assert_eq!(words(stderr), "remote: Counting objects; fatal: early EOF");
        assert_eq!(words("something else\n"), "something else");
    }
}
