//! Every scalar of a YAML or JSON document, visited as it is parsed, so that no tree of secrets is ever built.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Calls a function with the path of each scalar (the keys, and an index for each list) and its text.
///
/// A scalar that is no string has the text that JSON has for it; null has none.
pub(crate) struct Leaves<'w> {
    path: &'w mut Vec<String>,
    visit: &'w mut dyn FnMut(&[String], &str),
}

impl<'w> Leaves<'w> {
    /// Starts at the root; `path` is room for the walk and must be empty.
    pub(crate) fn new(path: &'w mut Vec<String>, visit: &'w mut dyn FnMut(&[String], &str)) -> Self {
        Self { path, visit }
    }

    fn below(&mut self, segment: String) -> Leaves<'_> {
        self.path.push(segment);
        Leaves { path: self.path, visit: self.visit }
    }

    fn scalar<E>(self, text: &str) -> Result<(), E> {
        (self.visit)(self.path, text);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Leaves<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Leaves<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML or JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(self.below(key))?;
            self.path.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let more = list.next_element_seed(self.below(index.to_string()))?;
            self.path.pop();
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.scalar(text)
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(&value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(&value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(&value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(&value.to_string())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar("")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        self.scalar("")
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}
