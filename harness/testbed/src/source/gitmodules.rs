//! The submodules of a checked-out repository: what its tree holds, and what .gitmodules says about it.

use std::{collections::BTreeMap, path::Path};

use super::{
    error::SourceError,
    git::{Git, SHORT},
};

/// One gitlink of the commit that is checked out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Submodule {
    /// Path in its repository.
    pub(crate) path: String,
    /// The commit that the gitlink names.
    pub(crate) commit: String,
    /// Its name in .gitmodules, if it is there.
    pub(crate) name: Option<String>,
    /// `url` in .gitmodules, as written.
    pub(crate) url: Option<String>,
    /// `branch` in .gitmodules.
    pub(crate) branch: Option<String>,
}

impl Submodule {
    /// Its path in the superproject, when that of its repository is `parent`.
    pub(crate) fn path_below(&self, parent: &str) -> String {
        if parent == "." { self.path.clone() } else { format!("{parent}/{}", self.path) }
    }
}

/// The submodules of the repository at `dir`.
pub(crate) async fn of(git: Git<'_>, dir: &Path) -> Result<Vec<Submodule>, SourceError> {
    let tree = git.run(dir, &["ls-tree", "-r", "-z", "HEAD"], SHORT).await?;
    let gitlinks = gitlinks(&tree);
    if gitlinks.is_empty() || !dir.join(".gitmodules").is_file() {
        return Ok(gitlinks);
    }
    let settings = git.run(dir, &["config", "--file", ".gitmodules", "--null", "--list"], SHORT).await?;
    Ok(with_settings(gitlinks, &settings))
}

/// Reads `git ls-tree -z`: `160000 commit HASH\tPATH`.
fn gitlinks(tree: &str) -> Vec<Submodule> {
    let gitlink = |entry: &str| {
        let (object, path) = entry.strip_prefix("160000 commit ")?.split_once('\t')?;
        Some(Submodule { path: path.to_owned(), commit: object.to_owned(), ..Submodule::default() })
    };
    tree.split_terminator('\0').filter_map(gitlink).collect()
}

/// Reads `git config --null --list`: `submodule.NAME.KEY\nVALUE`.
fn with_settings(mut submodules: Vec<Submodule>, settings: &str) -> Vec<Submodule> {
    let mut named: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (key, value) in settings.split_terminator('\0').filter_map(|setting| setting.split_once('\n')) {
        // A name may have dots in it; the key has none.
        let parts = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.'));
        if let Some((name, key)) = parts {
            named.entry(name).or_default().insert(key, value);
        }
    }
    for submodule in &mut submodules {
        let own = named.iter().find(|(_, settings)| settings.get("path") == Some(&submodule.path.as_str()));
        if let Some((name, settings)) = own {
            submodule.name = Some((*name).to_owned());
            let setting = |key| settings.get(key).map(|value: &&str| (*value).to_owned());
            (submodule.url, submodule.branch) = (setting("url"), setting("branch"));
        }
    }
    submodules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitlinks_are_joined_with_their_settings() {
        let tree = "100644 blob 11\tflake.nix\x00160000 commit 22\tsecrets\x00160000 commit 33\torphan\x00";
        let settings = "submodule.my.secrets.path\nsecrets\0submodule.my.secrets.url\n../s.git\0\
            submodule.my.secrets.branch\nlive\0core.bare\nfalse\0broken\0";
        let expected = [
            Submodule {
                path: "secrets".to_owned(),
                commit: "22".to_owned(),
                name: Some("my.secrets".to_owned()),
                url: Some("../s.git".to_owned()),
                branch: Some("live".to_owned()),
            },
            Submodule { path: "orphan".to_owned(), commit: "33".to_owned(), ..Submodule::default() },
        ];
        assert_eq!(with_settings(gitlinks(tree), settings), expected);
    }

    proptest::proptest! {
        #[test]
        fn no_output_upsets_it(tree in ".*", settings in ".*") {
            let _ = with_settings(gitlinks(&tree), &settings);
        }
    }
}
