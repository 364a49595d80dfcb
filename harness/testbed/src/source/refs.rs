//! The references of a remote, as `git ls-remote --symref` prints them.

use std::collections::BTreeMap;

/// References of one remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RemoteRefs {
    /// The branch that HEAD points to, without `refs/heads/`; none where HEAD is detached.
    head_branch: Option<String>,
    /// Full reference name to object.
    objects: BTreeMap<String, String>,
}

impl RemoteRefs {
    /// Reads git's output; lines of another form are passed over.
    pub(crate) fn parse(output: &str) -> Self {
        let mut refs = Self::default();
        for (left, name) in output.lines().filter_map(|line| line.split_once('\t')) {
            match left.strip_prefix("ref: refs/heads/") {
                Some(branch) if name == "HEAD" => refs.head_branch = Some(branch.to_owned()),
                _ => drop(refs.objects.insert(name.to_owned(), left.to_owned())),
            }
        }
        refs
    }

    /// The tip of `branch`.
    pub(crate) fn branch(&self, branch: &str) -> Option<&str> {
        self.objects.get(&format!("refs/heads/{branch}")).map(String::as_str)
    }

    /// The commit that the branch or the tag `revision` names; a branch goes before a tag of the same name.
    pub(crate) fn commit_of(&self, revision: &str) -> Option<&str> {
        // An annotated tag is an object of its own; `^{}` is the commit behind it.
        let names = [
            format!("refs/heads/{revision}"),
            format!("refs/tags/{revision}^{{}}"),
            format!("refs/tags/{revision}"),
            format!("{revision}^{{}}"),
            revision.to_owned(),
        ];
        names.iter().find_map(|name| self.objects.get(name)).map(String::as_str)
    }

    /// The branch whose tip counts, and that tip: `wanted` where one is, else the one that HEAD points to.
    pub(crate) fn tip(&self, wanted: Option<&str>) -> (String, String) {
        let branch = wanted.or(self.head_branch.as_deref());
        let tip = match branch {
            Some(branch) => self.branch(branch),
            None => self.objects.get("HEAD").map(String::as_str),
        };
        (branch.unwrap_or_default().to_owned(), tip.unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "ref: refs/heads/main\tHEAD\n\
        1111\tHEAD\n1111\trefs/heads/main\n2222\trefs/heads/next\n\
        3333\trefs/tags/v1\n4444\trefs/tags/v1^{}\n5555\trefs/tags/light\n6666\trefs/tags/next\n";

    #[test]
    fn branches_and_tags_name_commits() {
        let refs = RemoteRefs::parse(OUTPUT);
        let named = ["main", "next", "v1", "light", "refs/heads/next", "refs/tags/v1", "nothing"];
        let commits = named.map(|revision| refs.commit_of(revision).unwrap_or("none"));
        assert_eq!(commits, ["1111", "2222", "4444", "5555", "2222", "4444", "none"]);
    }

    #[test]
    fn the_tip_is_that_of_the_wanted_branch_or_of_head() {
        let refs = RemoteRefs::parse(OUTPUT);
        let pair = |branch: &str, tip: &str| (branch.to_owned(), tip.to_owned());
        assert_eq!(refs.tip(None), pair("main", "1111"));
        assert_eq!(refs.tip(Some("next")), pair("next", "2222"));
        assert_eq!(refs.tip(Some("gone")), pair("gone", ""));
        assert_eq!(RemoteRefs::parse("7777\tHEAD\n").tip(None), pair("", "7777"));
    }

    proptest::proptest! {
        #[test]
        fn no_output_upsets_it(output in ".*") {
            let _ = RemoteRefs::parse(&output).tip(None);
        }
    }
}
