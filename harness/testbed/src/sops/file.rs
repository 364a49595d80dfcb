//! One sops file as it is committed: which values are encrypted, and for whom.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeSeed};
use serde_json::Value;

use super::leaves::Leaves;

/// The notations that sops writes key by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Yaml,
    Json,
}

/// What can be read without any key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Each leaf's key path and whether it is encrypted.
    pub(crate) values: BTreeMap<String, bool>,
    /// age recipients.
    pub(crate) recipients: Vec<String>,
    /// Other recipients, as `kind:id`.
    pub(crate) others: Vec<String>,
}

impl Format {
    /// By the name's extension, as sops does; what is neither is what sops calls binary, which is JSON with one key.
    pub(crate) fn of(name: &str) -> Self {
        let yaml = [".yaml", ".yml"].iter().any(|extension| name.ends_with(extension));
        if yaml { Self::Yaml } else { Self::Json }
    }

    /// sops' name for the type of a file that is called `name`.
    pub(crate) fn input_type(name: &str) -> &'static str {
        match Self::of(name) {
            Self::Yaml => "yaml",
            Self::Json if name.ends_with(".json") => "json",
            Self::Json => "binary",
        }
    }

    /// Visits every scalar of `text` with its path.
    ///
    /// # Errors
    /// The place and kind of the first error, without any of the text.
    pub(crate) fn visit(self, text: &str, visit: &mut dyn FnMut(&[String], &str)) -> Result<(), String> {
        let mut path = Vec::new();
        let leaves = Leaves::new(&mut path, visit);
        match self {
            Self::Yaml => serde_saphyr::with_deserializer_from_str(text, |yaml| leaves.deserialize(yaml))
                .map_err(|error| format!("it is not YAML: {}", error.without_snippet())),
            Self::Json => {
                let mut json = serde_json::Deserializer::from_str(text);
                let read = leaves.deserialize(&mut json).and_then(|()| json.end());
                read.map_err(|error| format!("it is not JSON: {error}"))
            }
        }
    }

    fn metadata(self, text: &str) -> Value {
        #[derive(Default, Deserialize)]
        struct Document {
            #[serde(default)]
            sops: Value,
        }
        let document: Option<Document> = match self {
            Self::Yaml => serde_saphyr::from_str(text).ok(),
            Self::Json => serde_json::from_str(text).ok(),
        };
        document.unwrap_or_default().sops
    }
}

impl Committed {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is neither YAML nor JSON, whichever its name promises.
    pub(crate) fn read(format: Format, text: &str) -> Result<Self, String> {
        let mut committed = Self::default();
        format.visit(text, &mut |path, value| {
            if path.first().is_none_or(|key| key != "sops") {
                committed.values.insert(path.join("."), is_encrypted(value));
            }
        })?;
        let metadata = format.metadata(text);
        committed.add_recipients(&metadata);
        // With Shamir's secret sharing the recipients are in groups instead.
        for group in metadata["key_groups"].as_array().into_iter().flatten() {
            committed.add_recipients(group);
        }
        Ok(committed)
    }

    fn add_recipients(&mut self, group: &Value) {
        let lists = group.as_object().into_iter().flatten().filter(|(kind, _)| *kind != "key_groups");
        for (kind, list) in lists {
            for recipient in list.as_array().into_iter().flatten() {
                match recipient["recipient"].as_str().filter(|_| kind == "age") {
                    Some(age) => self.recipients.push(age.to_owned()),
                    None => self.others.push(format!("{kind}:{}", identifier(recipient))),
                }
            }
        }
    }
}

/// What names a recipient of one of sops' other kinds.
fn identifier(recipient: &Value) -> &str {
    let fields = ["fp", "arn", "resource_id", "vault_url", "vaultUrl", "vault_address", "key_id"];
    fields.iter().find_map(|field| recipient[field].as_str()).unwrap_or("?")
}

/// sops' form of an encrypted value.
fn is_encrypted(value: &str) -> bool {
    value.starts_with("ENC[AES256_GCM,data:") && value.ends_with(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "\
# a comment
plain: hunter2
secret: ENC[AES256_GCM,data:aa==,iv:b,tag:c,type:str]
nested:
    list:
        - ENC[AES256_GCM,data:aa==,iv:b,tag:c,type:int]
        - 7
    nothing: null
sops:
    age:
        - recipient: age1aaa
          enc: |
            -----BEGIN AGE ENCRYPTED FILE-----
    pgp:
        - fp: ABCDEF
    kms: []
    key_groups:
        - age:
            - recipient: age1bbb
          hc_vault:
            - vault_address: https://vault.example.test
              engine_path: sops
    mac: ENC[AES256_GCM,data:aa==,iv:b,tag:c,type:str]
";

    #[test]
    fn values_and_recipients_are_read() {
        let committed = Committed::read(Format::Yaml, YAML).unwrap();
        let values: Vec<_> = committed.values.iter().map(|(key, encrypted)| (key.as_str(), *encrypted)).collect();
        let expected = [
            ("nested.list.0", true),
            ("nested.list.1", false),
            ("nested.nothing", false),
            ("plain", false),
            ("secret", true),
        ];
        assert_eq!(values, expected);
        assert_eq!(committed.recipients, ["age1aaa", "age1bbb"]);
        assert_eq!(committed.others, ["pgp:ABCDEF", "hc_vault:https://vault.example.test"]);
    }

    #[test]
    fn json_is_read_alike() {
        let json = r#"{"a": {"b": "ENC[AES256_GCM,data:x]"}, "c": 1, "sops": {"age": [{"recipient": "age1aaa"}]}}"#;
        let committed = Committed::read(Format::Json, json).unwrap();
        assert_eq!(committed.values, BTreeMap::from([("a.b".to_owned(), true), ("c".to_owned(), false)]));
        assert_eq!(committed.recipients, ["age1aaa"]);
    }

    #[test]
    fn what_is_broken_is_said_without_repeating_it() {
        for (format, text) in [(Format::Yaml, "a: hunter2\n b: [hunter2\n"), (Format::Json, "{\"a\": hunter2}")] {
            let error = Committed::read(format, text).unwrap_err();
            assert!(error.starts_with("it is not ") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_extension_tells_the_format() {
        let types = ["a.yaml", "a.yml", "a.json", "a.key"].map(Format::input_type);
        assert_eq!(types, ["yaml", "yaml", "json", "binary"]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_upsets_it(text in "(?s).*", structured in "([a-z\"]|: |\n|  |- |\\[|\\{|\\}|\\]|&a|\\*a|[0-9]|,){0,60}") {
            for format in [Format::Yaml, Format::Json] {
                let _ = Committed::read(format, &text);
                let _ = Committed::read(format, &structured);
            }
        }
    }
}
