//! The reference page of the host definition against what the parser knows.

use std::collections::BTreeSet;

use super::{COMPLETE, Directory};

const PAGE: &str = include_str!("../../../../../docs/host-definition.md");

/// The keys of one table: the parser names them all when it meets one that it does not know.
fn keys_beside(header: &str) -> BTreeSet<String> {
    let text = match header {
        "" => format!("no-such-key = 1\n{COMPLETE}"),
        header => COMPLETE.replacen(header, &format!("{header}\nno-such-key = 1"), 1),
    };
    let error = Directory::new().error(&text);
    let known = error.split_once("the keys here are ").expect("the parser lists its keys").1;
    known.split(", ").map(|key| key.trim().to_owned()).collect()
}

#[test]
fn the_page_has_every_key_of_every_table() {
    let tables = keys_beside("");
    assert!(tables.contains("bootstrap"), "{tables:?}");
    for table in tables {
        let header = COMPLETE
            .lines()
            .find(|line| *line == format!("[{table}]") || line.starts_with(&format!("[{table}.")))
            .unwrap_or_else(|| panic!("the complete definition has no [{table}]"));
        let section = PAGE
            .split("\n## ")
            .find(|section| section.starts_with(&format!("`[{table}")))
            .unwrap_or_else(|| panic!("the page has no section for [{table}]"));
        for key in keys_beside(header) {
            assert!(section.contains(&format!("`{key}`")), "the page's section [{table}] lacks `{key}`");
        }
    }
}

#[test]
fn the_page_s_example_is_the_complete_definition() {
    assert!(PAGE.contains(COMPLETE));
}
