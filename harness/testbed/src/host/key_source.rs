//! Where a secret that the controller holds comes from. Nothing is read before it is needed.

use std::{
    collections::BTreeMap,
    env, fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use zeroize::Zeroizing;

use super::{HostDefinition, Name};

/// Where a private key is held: it names a place and never the key itself, so that it can be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// An environment variable of the controller.
    Env(String),
    /// A program and its arguments, whose standard output is the key.
    Command(Vec<String>),
}

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no such file, or it cannot be read.
    #[error("cannot read key file {path}: {source}; put the key there, or name the file that holds it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("key file {path} has mode {mode:04o}, so that others may read it; run `chmod 600 {path}`")]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The variable is not set, or is not UTF-8.
    #[error("environment variable {0} does not hold a key; set it for the command alone")]
    Variable(String),
    /// The program did not print a key.
    #[error("key command `{program}` {reason}; run it by hand to see that it prints the key")]
    Command {
        /// The program, without its arguments.
        program: String,
        /// What became of it.
        reason: String,
    },
    /// There was something, but not a key.
    #[error("{origin} holds no key; it is empty")]
    Empty {
        /// File, variable or program.
        origin: String,
    },
    /// A git credential that is not one header line.
    #[error("{origin} is not one header; it must be a single line such as `Authorization: Basic …`")]
    NoHeader {
        /// File or variable.
        origin: String,
    },
}

impl KeySource {
    /// Reads the key, whole, as it is. Blocks: a command may ask for a passphrase.
    ///
    /// # Errors
    /// When the file is missing or readable by others, the variable unset, the command fails, or there is no text.
    pub fn read(&self) -> Result<Zeroizing<String>, KeyError> {
        let text = match self {
            Self::File(path) => {
                check_file(path)?;
                fs::read_to_string(path)
                    .map(Zeroizing::new)
                    .map_err(|source| KeyError::Unreadable { path: path.clone(), source })?
            }
            Self::Env(name) => Zeroizing::new(env::var(name).map_err(|_| KeyError::Variable(name.clone()))?),
            Self::Command(argv) => output_of(argv)?,
        };
        if text.trim().is_empty() {
            return Err(KeyError::Empty { origin: self.origin() });
        }
        Ok(text)
    }

    fn origin(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Env(name) => format!("environment variable {name}"),
            Self::Command(argv) => format!("output of `{}`", argv.first().map_or("", String::as_str)),
        }
    }
}

impl HostDefinition {
    /// Reads every recipient's private half that the controller holds, by the recipient's name. Blocks.
    ///
    /// # Errors
    /// As [`KeySource::read`], for the first key that cannot be read.
    pub fn held_keys(&self) -> Result<BTreeMap<Name, Zeroizing<String>>, KeyError> {
        let held = self.recipients.iter().filter_map(|(name, recipient)| Some((name, recipient.key.as_ref()?)));
        held.map(|(name, key)| Ok((name.clone(), key.read()?))).collect()
    }
}

/// Where the git credential is held: the header that git sends, `Name: value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials(pub(super) KeySource);

impl Credentials {
    /// Reads the header, a single line.
    ///
    /// # Errors
    /// As [`KeySource::read`], and when it is not one header line.
    pub fn read(&self) -> Result<Zeroizing<String>, KeyError> {
        let text = self.0.read()?;
        let header = text.trim();
        let named = header.split_once(':').is_some_and(|(name, value)| {
            !name.is_empty() && !name.contains(char::is_whitespace) && !value.trim().is_empty()
        });
        if !named || header.contains(['\n', '\r']) {
            return Err(KeyError::NoHeader { origin: self.0.origin() });
        }
        Ok(Zeroizing::new(header.to_owned()))
    }
}

/// Checks that a key file is there and its owner's alone, without reading it.
pub(super) fn check_file(path: &Path) -> Result<(), KeyError> {
    let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::other("it is not a file")));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen { path: path.to_owned(), mode });
    }
    Ok(())
}

fn output_of(argv: &[String]) -> Result<Zeroizing<String>, KeyError> {
    let (program, arguments) = argv.split_first().map_or(("", &[][..]), |(p, rest)| (p.as_str(), rest));
    let failed = |reason: String| KeyError::Command { program: program.to_owned(), reason };
    // Standard error stays the terminal's: a password manager asks there.
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(format!("could not be run: {error}")))?;
    let stdout = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(failed(format!("failed with {}", output.status)));
    }
    std::str::from_utf8(&stdout)
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| failed("printed something that is no text".to_owned()))
}
