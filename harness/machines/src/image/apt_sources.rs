//! The Debian mirror that this machine itself uses: the image comes from nowhere else.
//!
//! Both formats of sources.list(5) are read: the one-line style and deb822.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A Debian mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its address.
    pub uri: String,
    /// The keyring that signs it.
    pub keyring: PathBuf,
}

/// Why no mirror was found.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// No source is the archive of this machine's release.
    #[error(
        "the apt sources in {} name no Debian archive; add one with `Suites: {suite}` and `Components: main`",
        directory.display()
    )]
    None {
        /// The directory of apt's configuration.
        directory: PathBuf,
        /// This machine's release.
        suite: String,
    },
    /// This machine's release is unknown, so its archive cannot be told from other sources.
    #[error("/etc/os-release names no VERSION_CODENAME; the image can only be built on Debian or a derivative")]
    UnknownRelease,
    /// A source cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What Debian's own package `debian-archive-keyring` installs, for sources that state no keyring.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The mirror in this machine's own apt sources.
///
/// # Errors
/// When there is none, or when they cannot be read.
pub fn mirror() -> Result<Mirror, MirrorError> {
    let os_release = Path::new("/etc/os-release");
    let text = read(os_release)?;
    let codename = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = codename.map(|value| value.trim_matches('"')).ok_or(MirrorError::UnknownRelease)?;
    mirror_in(Path::new("/etc/apt"), suite)
}

fn mirror_in(directory: &Path, suite: &str) -> Result<Mirror, MirrorError> {
    let mut files = vec![directory.join("sources.list")];
    let parts = directory.join("sources.list.d");
    if parts.is_dir() {
        let entries = fs::read_dir(&parts).map_err(|source| MirrorError::Io { path: parts.clone(), source })?;
        let mut names: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        names.sort();
        files.extend(names);
    }
    for file in files.iter().filter(|file| file.is_file()) {
        let text = read(file)?;
        let sources = match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => deb822(&text),
            Some("list") => one_line(&text),
            _ => continue,
        };
        if let Some(source) = sources.into_iter().find(|source| source.is_archive_of(suite)) {
            let keyring = source.keyring.unwrap_or_else(|| DEBIAN_KEYRING.into());
            return Ok(Mirror { uri: source.uri, keyring });
        }
    }
    Err(MirrorError::None { directory: directory.into(), suite: suite.into() })
}

fn read(path: &Path) -> Result<String, MirrorError> {
    fs::read_to_string(path).map_err(|source| MirrorError::Io { path: path.into(), source })
}

/// One entry of apt's sources, with its first address.
#[derive(Debug, Default, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    keyring: Option<PathBuf>,
}

impl Source {
    fn is_archive_of(&self, suite: &str) -> bool {
        !self.uri.is_empty()
            && self.suites.iter().any(|name| name == suite)
            && self.components.iter().any(|name| name == "main")
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// `Signed-By` may also hold fingerprints or a key itself; only a path is of use here.
fn keyring(value: &str) -> Option<PathBuf> {
    Some(PathBuf::from(value.trim())).filter(|path| path.is_absolute())
}

fn deb822(text: &str) -> Vec<Source> {
    let uncommented: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    uncommented.split(|line| line.trim().is_empty()).filter_map(stanza).collect()
}

fn stanza(lines: &[&str]) -> Option<Source> {
    // A line that starts with a space continues the field above it.
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t']) {
            let (_, value) = fields.last_mut()?;
            value.push(' ');
            value.push_str(line.trim());
        } else {
            let (name, value) = line.split_once(':')?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let disabled = matches!(field("enabled"), Some("no" | "false" | "0"));
    if disabled || !words(field("types")?).iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uri: words(field("uris")?).into_iter().next()?,
        suites: words(field("suites")?),
        components: words(field("components").unwrap_or_default()),
        keyring: field("signed-by").and_then(keyring),
    })
}

fn one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(entry).collect()
}

fn entry(line: &str) -> Option<Source> {
    let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?,
        None => ("", rest),
    };
    let mut fields = words(rest).into_iter();
    Some(Source {
        uri: fields.next()?,
        suites: vec![fields.next()?],
        components: fields.collect(),
        keyring: words(options).iter().find_map(|option| option.strip_prefix("signed-by=")).and_then(keyring),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror_of(files: &[(&str, &str)]) -> Result<Mirror, MirrorError> {
        let apt = tempfile::tempdir().unwrap();
        fs::create_dir(apt.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            fs::write(apt.path().join(name), text).unwrap();
        }
        mirror_in(apt.path(), "bookworm")
    }

    #[test]
    fn reads_deb822_past_other_archives() {
        let vendor = "Types: deb\nURIs: https://vendor.test/apt\nSuites: bookworm\nComponents: stable\n";
        let debian = "# comment: http://nowhere.test\nTypes: deb deb-src\nURIs: http://mirror.test/debian\n http://second.test\n\
            # comment inside\nSuites: bookworm-updates bookworm\nComponents: main\nSigned-By: /k/archive.gpg\n\n\
            Types: deb\nURIs: http://mirror.test/security\nSuites: bookworm-security\nComponents: main\n";
        let found =
            mirror_of(&[("sources.list.d/a.sources", vendor), ("sources.list.d/debian.sources", debian)]).unwrap();
        assert_eq!(found, Mirror { uri: "http://mirror.test/debian".into(), keyring: "/k/archive.gpg".into() });
    }

    #[test]
    fn reads_the_one_line_style() {
        let text = "# deb http://old.test/debian bookworm main\ndeb-src http://src.test/debian bookworm main\n\
            deb [arch=amd64 signed-by=/k/a.gpg] http://mirror.test/debian bookworm main contrib # ours\n";
        let found = mirror_of(&[("sources.list", text)]).unwrap();
        assert_eq!(found, Mirror { uri: "http://mirror.test/debian".into(), keyring: "/k/a.gpg".into() });
    }

    #[test]
    fn falls_back_to_debians_keyring() {
        let key =
            "Types: deb\nURIs: http://m.test/d\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP\n";
        assert_eq!(mirror_of(&[("sources.list.d/d.sources", key)]).unwrap().keyring, Path::new(DEBIAN_KEYRING));
    }

    #[test]
    fn passes_over_what_is_disabled_or_not_apts() {
        let disabled = "Enabled: no\nTypes: deb\nURIs: http://m.test/d\nSuites: bookworm\nComponents: main\n";
        let saved = "deb http://m.test/d bookworm main\n";
        let error = mirror_of(&[("sources.list.d/d.sources", disabled), ("sources.list.d/d.list.save", saved)]);
        assert!(matches!(error, Err(MirrorError::None { suite, .. }) if suite == "bookworm"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[ -~\n\t\\[\\]#:=]{0,200}") {
            deb822(&text);
            one_line(&text);
        }
    }
}
