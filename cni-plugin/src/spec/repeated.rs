//! Keys that stand twice in an object, which a document that has been read doesn't show: the last one is left.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use tweed_model::json::same_key;

/// The first key that the object under `name` has twice, both times spelled the same.
pub(crate) fn repeated(bytes: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut reader = serde_json::Deserializer::from_str(&text);
    let keys = reader.deserialize_map(Document(name)).ok()?;
    let mut seen = BTreeSet::new();
    keys.into_iter().find(|key| !seen.insert(key.clone()))
}

/// The keys of the object under a name, the last of that name.
struct Document<'a>(&'a str);

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = members.next_key::<String>()? {
            match same_key(&key, self.0) {
                true => keys = members.next_value::<Option<Keys>>()?.unwrap_or_default().0,
                false => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(keys)
    }
}

#[derive(Default)]
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Keys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut keys = Vec::new();
        while let Some((key, _)) = members.next_entry::<String, IgnoredAny>()? {
            keys.push(key);
        }
        Ok(Keys(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_key_of_that_object_that_is_there_twice_is_found() {
        let of = |text: &str| repeated(text.as_bytes(), "sysctl");
        let twice = r#"{"name": "a", "name": "b", "SysCtl": {"x": "1", "y": "2", "x": "3"}}"#;
        assert_eq!(of(twice).as_deref(), Some("x"));
        for once in [
            r#"{"name": "a", "name": "b", "sysctl": {"x": "1", "X": "2"}}"#,
            r#"{"sysctl": {"x": 1, "x": 2}, "sysctl": null}"#,
            r#"{"args": {"x": 1, "x": 2}}"#,
            "[]",
            "{",
        ] {
            assert_eq!(of(once), None, "{once}");
        }
    }
}
