//! Finds the scenarios under a directory and names each of them.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use cucumber::{
    feature::{ExpandExamplesError, Ext as _},
    gherkin::{Feature, GherkinEnv, ParseFileError, Scenario},
};

/// One scenario, with all its examples put in, inside a feature that holds nothing else.
#[derive(Clone, Debug)]
pub struct Case {
    /// `file::rule::scenario::@tag::@tag…`, unique in its directory.
    pub name: String,
    /// Tags of the feature, the rule, the scenario and the examples, without `@`, sorted.
    pub tags: Vec<String>,
    /// The texts of its steps as they will be run, backgrounds included.
    pub steps: Vec<String>,
    /// The feature, cut down to this scenario.
    pub feature: Feature,
}

/// Why the scenarios of a directory cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The directory or a file in it cannot be read.
    #[error("{path}: {source}; features are read from a directory of .feature files")]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// Its error.
        source: io::Error,
    },
    /// Not Gherkin.
    #[error("{path}: {source}; correct the feature")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says, with the position.
        source: Box<ParseFileError>,
    },
    /// An outline uses a placeholder that its examples do not have.
    #[error("{0}; add a column to its examples or correct the placeholder")]
    Expand(#[from] ExpandExamplesError),
    /// There is nothing to test.
    #[error("{0} holds no scenario; nothing would be tested")]
    Empty(PathBuf),
    /// A file that would be passed over in silence.
    #[error("{0} is no .feature file; move it out of the features directory")]
    Stray(PathBuf),
    /// A scenario that could only pass.
    #[error("{path}:{line}: {what}; it would pass without testing anything")]
    Vacuous {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is missing.
        what: &'static str,
    },
    /// Two scenarios would be one test.
    #[error("{second}: a scenario named {name:?} is in {first} already; rename one of them")]
    Duplicate {
        /// The name.
        name: String,
        /// Position of the first.
        first: String,
        /// Position of the second.
        second: String,
    },
}

/// All scenarios of the `.feature` files in `dir`, in the order of file names and lines.
///
/// # Errors
/// When a file is no feature, when nothing is found, and when a scenario could not be run under a name of its own.
pub fn discover(dir: &Path) -> Result<Vec<Case>, DiscoverError> {
    let mut cases = Vec::new();
    for path in feature_files(dir)? {
        let feature = Feature::parse_path(&path, GherkinEnv::default())
            .map_err(|source| DiscoverError::Parse { path: path.clone(), source: Box::new(source) })?;
        refuse_vacuous(&path, &feature)?;
        cases.extend(split(&path, feature.expand_examples()?));
    }
    if cases.is_empty() {
        return Err(DiscoverError::Empty(dir.to_owned()));
    }
    refuse_duplicates(&cases)?;
    Ok(cases)
}

fn feature_files(dir: &Path) -> Result<Vec<PathBuf>, DiscoverError> {
    let at = |source| DiscoverError::Io { path: dir.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.extension().is_some_and(|e| e == "feature") && path.is_file() {
            files.push(path);
        } else if !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')) {
            return Err(DiscoverError::Stray(path));
        }
    }
    files.sort();
    Ok(files)
}

/// The outline's examples, counted before the expansion, which drops an outline without rows in silence.
fn refuse_vacuous(path: &Path, feature: &Feature) -> Result<(), DiscoverError> {
    for scenario in feature.scenarios.iter().chain(feature.rules.iter().flat_map(|r| &r.scenarios)) {
        let vacuous = |line, what| DiscoverError::Vacuous { path: path.to_owned(), line, what };
        let line = scenario.position.line;
        if scenario.steps.is_empty() {
            return Err(vacuous(line, "a scenario without steps"));
        }
        if scenario.keyword.contains("Outline") && scenario.examples.is_empty() {
            return Err(vacuous(line, "a scenario outline without examples"));
        }
        for examples in &scenario.examples {
            if examples.table.as_ref().is_none_or(|t| t.rows.len() < 2) {
                return Err(vacuous(examples.position.line, "examples without a row"));
            }
        }
    }
    for rule in &feature.rules {
        if rule.scenarios.is_empty() {
            let line = rule.position.line;
            return Err(DiscoverError::Vacuous { path: path.to_owned(), line, what: "a rule without a scenario" });
        }
    }
    Ok(())
}

fn refuse_duplicates(cases: &[Case]) -> Result<(), DiscoverError> {
    let mut seen = BTreeMap::new();
    for case in cases {
        if let Some(first) = seen.insert(&case.name, case) {
            return Err(DiscoverError::Duplicate {
                name: case.name.clone(),
                first: first.position(),
                second: case.position(),
            });
        }
    }
    Ok(())
}

fn split(path: &Path, feature: Feature) -> Vec<Case> {
    let mut bare = feature.clone();
    bare.scenarios.clear();
    bare.rules.clear();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();

    let direct = feature.scenarios.iter().map(|scenario| {
        let mut one = bare.clone();
        one.scenarios.push(scenario.clone());
        Case::new(&slug(&stem), one)
    });
    let ruled = feature.rules.iter().flat_map(|rule| {
        rule.scenarios.iter().map(|scenario| {
            let mut one = bare.clone();
            let mut only = rule.clone();
            only.scenarios = vec![scenario.clone()];
            one.rules.push(only);
            Case::new(&format!("{}::{}", slug(&stem), slug(&rule.name)), one)
        })
    });
    direct.chain(ruled).collect()
}

impl Case {
    /// Names the only scenario of `feature`.
    fn new(prefix: &str, feature: Feature) -> Self {
        let mut tags = feature.tags.clone();
        let mut steps = Vec::new();
        let mut title = String::new();
        for (rule_tags, background, scenario) in parts(&feature) {
            tags.extend(rule_tags.iter().chain(&scenario.tags).cloned());
            let backgrounds = feature.background.iter().chain(background);
            steps.extend(backgrounds.flat_map(|b| &b.steps).chain(&scenario.steps).map(|s| s.value.clone()));
            title.clone_from(&scenario.name);
        }
        tags.sort();
        tags.dedup();
        let mut name = format!("{prefix}::{}", slug(&title));
        for tag in &tags {
            name.push_str("::@");
            name.push_str(tag);
        }
        Self { name, tags, steps, feature }
    }

    /// `FILE:LINE` of the scenario.
    #[must_use]
    pub fn position(&self) -> String {
        let path = self.feature.path.clone().unwrap_or_default();
        let line = parts(&self.feature).next().map_or(0, |(_, _, s)| s.position.line);
        format!("{}:{line}", path.display())
    }
}

type Part<'a> = (&'a [String], Option<&'a cucumber::gherkin::Background>, &'a Scenario);

/// Each scenario with the tags and the background of its rule.
fn parts(feature: &Feature) -> impl Iterator<Item = Part<'_>> {
    let direct = feature.scenarios.iter().map(|s| (&[][..], None, s));
    let ruled = feature
        .rules
        .iter()
        .flat_map(|rule| rule.scenarios.iter().map(|s| (rule.tags.as_slice(), rule.background.as_ref(), s)));
    direct.chain(ruled)
}

/// Letters and digits in lower case, everything between them one underscore: what needs no quoting in any shell or filter.
fn slug(text: &str) -> String {
    let words: Vec<_> = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    words.join("_").to_lowercase()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("served leaf equals git cert", "served_leaf_equals_git_cert")]
    #[case("  One secret's mode -- 0400! ", "one_secret_s_mode_0400")]
    #[case("Ünïcode stays", "ünïcode_stays")]
    fn slugs_need_no_quoting(#[case] title: &str, #[case] expected: &str) {
        assert_eq!(slug(title), expected);
    }

    fn discover_text(text: &str) -> Result<Vec<Case>, DiscoverError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tls.feature"), text).unwrap();
        discover(dir.path())
    }

    #[test]
    fn names_carry_the_rule_and_all_tags() {
        let cases = discover_text(
            "@a\nFeature: F\n Background:\n  Given x\n @criterion:tls.leaf-equals-git\n Rule: One leaf\n  @qemu\n  Scenario Outline: served by <who>\n   When <who> asks\n   Examples:\n    | who |\n    | curl |\n    | nobody |\n",
        )
        .unwrap();
        let names: Vec<_> = cases.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "tls::one_leaf::served_by_curl::@a::@criterion:tls.leaf-equals-git::@qemu",
                "tls::one_leaf::served_by_nobody::@a::@criterion:tls.leaf-equals-git::@qemu",
            ]
        );
        assert_eq!(cases[1].steps, ["x", "nobody asks"]);
        assert_eq!(cases[1].feature.count_scenarios(), 1);
    }

    #[rstest]
    #[case::no_scenario("Feature: F\n", "no scenario")]
    #[case::no_steps("Feature: F\n Scenario: S\n", "without steps")]
    #[case::no_rows("Feature: F\n Scenario Outline: S <a>\n  Given <a>\n  Examples:\n   | a |\n", "without a row")]
    #[case::no_examples("Feature: F\n Scenario Outline: S <a>\n  Given <a>\n", "without examples")]
    #[case::unknown_placeholder(
        "Feature: F\n Scenario Outline: S\n  Given <bb>\n  Examples:\n   | aa |\n   | 1 |\n",
        "bb"
    )]
    #[case::same_name("Feature: F\n Scenario: S\n  Given x\n Scenario: s!\n  Given y\n", "rename one")]
    #[case::no_gherkin("nonsense\n", "correct the feature")]
    fn what_would_pass_unseen_is_an_error(#[case] text: &str, #[case] says: &str) {
        let error = discover_text(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_stray_file_is_an_error_and_an_empty_directory_too() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(discover(dir.path()), Err(DiscoverError::Empty(_))));
        fs::write(dir.path().join("tls.featur"), "").unwrap();
        assert!(matches!(discover(dir.path()), Err(DiscoverError::Stray(_))));
    }
}
