//! Decrypting a file with one key alone, and taking a value out of it, by the real sops.

use std::{path::Path, process::Stdio, time::Duration};

use coldproof_machines::mark::Mark;
use tokio::{io::AsyncReadExt, process::Command, time::timeout};
use zeroize::Zeroizing;

use super::{SopsError, file::Format};

/// Decrypting takes some thirty milliseconds; anything like this is a file with recipients that sops asks over a network.
const LIMIT: Duration = Duration::from_secs(60);
/// sops' exit code where the message authentication code is wrong or cannot be decrypted.
const MAC_MISMATCH: i32 = 51;

/// What one key alone made of a file.
pub(crate) struct Decrypted {
    /// The decrypted document as JSON, or sops' exit code and words.
    pub(crate) document: Result<Zeroizing<String>, String>,
    /// Whether the message authentication code verifies; none where the key does not get that far.
    pub(crate) mac: Option<Result<(), String>>,
}

/// sops with one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sops<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// A file with one age identity, in memory.
    pub(crate) key_file: &'a Path,
    /// Whose process it is.
    pub(crate) mark: &'a Mark,
}

impl Sops<'_> {
    /// Decrypts `file`.
    ///
    /// # Errors
    /// When sops cannot be run or takes too long. That it cannot decrypt is no error.
    pub(crate) async fn decrypt(&self, file: &Path) -> Result<Decrypted, SopsError> {
        match self.run("decrypt", file, &["--output-type", "json"], &[]).await? {
            Ok(document) => Ok(Decrypted { document: Ok(document), mac: Some(Ok(())) }),
            // A wrong code hides the values, which are facts of their own.
            Err((MAC_MISMATCH, words)) => {
                let document = self.run("decrypt", file, &["--output-type", "json", "--ignore-mac"], &[]).await?;
                Ok(Decrypted { document: document.map_err(|(code, words)| said(code, &words)), mac: Some(Err(words)) })
            }
            Err((code, words)) => Ok(Decrypted { document: Err(said(code, &words)), mac: None }),
        }
    }

    /// Takes the value at `index`, for instance `["nested"]["key"]`, out of `file`, which is then authentic without it.
    ///
    /// # Errors
    /// When sops cannot be run or takes too long. That it cannot do it is no error: the answer says why.
    pub(crate) async fn unset(&self, file: &Path, index: &str) -> Result<Result<(), String>, SopsError> {
        let done = self.run("unset", file, &[], &[index]).await?;
        Ok(done.map(drop).map_err(|(code, words)| said(code, &words)))
    }

    async fn run(
        &self,
        subcommand: &str,
        file: &Path,
        options: &[&str],
        operands: &[&str],
    ) -> Result<Result<Zeroizing<String>, (i32, String)>, SopsError> {
        let failed = |source| SopsError::Run { program: self.program.to_owned(), source };
        let name = file.to_string_lossy();
        let mut command = Command::new(self.program);
        command
            .args([subcommand, "--input-type", Format::input_type(&name)])
            .args(options)
            .arg(file)
            .args(operands)
            // Nothing of the user's: a key in ~/.ssh or ~/.config would mask that this one does not fit.
            .env_clear()
            .env("HOME", "/nonexistent")
            .env("PATH", "/nonexistent")
            .env("SOPS_AGE_KEY_FILE", self.key_file)
            .env("SOPS_DISABLE_VERSION_CHECK", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        self.mark.put_on(command.as_std_mut());
        let mut child = command.spawn().map_err(failed)?;
        // Room for all of it, so that growing leaves no copy of a secret behind.
        let size = file.metadata().map_or(0, |meta| usize::try_from(meta.len()).unwrap_or_default());
        let mut stdout = Zeroizing::new(Vec::with_capacity(2 * size + 64 * 1024));
        let mut stderr = String::new();
        let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(failed(std::io::Error::other("it was started without its pipes")));
        };
        let all =
            async { tokio::try_join!(out.read_to_end(&mut stdout), err.read_to_string(&mut stderr), child.wait()) };
        let (_, _, status) = match timeout(LIMIT, all).await {
            Ok(ended) => ended.map_err(failed)?,
            Err(elapsed) => return Err(failed(elapsed.into())),
        };
        if status.success() {
            let text = std::str::from_utf8(&stdout).map_err(|_| failed(std::io::Error::other("it printed no text")))?;
            return Ok(Ok(Zeroizing::new(text.to_owned())));
        }
        let Some(code) = status.code() else {
            // It was killed, so that nothing was said about the file.
            return Err(failed(std::io::Error::other(status.to_string())));
        };
        let stderr = stderr.replace(&*self.key_file.to_string_lossy(), "KEYFILE").replace(&*name, "FILE");
        Ok(Err((code, stderr.split_whitespace().collect::<Vec<_>>().join(" "))))
    }
}

fn said(code: i32, words: &str) -> String {
    format!("exit {code}: {words}")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[tokio::test]
    async fn a_sops_that_was_killed_said_nothing_about_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("sops");
        fs::write(&program, "#!/bin/sh\nkill -KILL $$\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let sops = Sops { program: &program, key_file: Path::new("/nonexistent"), mark: &Mark::default() };
        let error = sops.decrypt(&dir.path().join("secrets.yaml")).await.map(drop).unwrap_err();
        assert!(matches!(error, SopsError::Run { .. }), "{error}");
    }
}
