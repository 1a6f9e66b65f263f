//! Reading JSON by the rules of Go's `encoding/json`, on which flannel's documents rest: keys match without regard to
//! case, the last of several wins, `null` leaves a value unset, unknown keys are passed over, and a number is a number.
//! Data behind the document is an error.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The members of one JSON object in the order of the document, duplicates included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    members: Vec<(String, Value)>,
}

/// Why a document or one of its values can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not one JSON object.
    #[error("not a JSON object: {0}")]
    Syntax(String),
    /// A value of the wrong type.
    #[error("{key} is {found}, want {want}")]
    Type {
        /// The key as the reader calls it.
        key: String,
        /// The value as it stands in the document, shortened.
        found: String,
        /// What is allowed.
        want: &'static str,
    },
}

/// Why a text is no JSON object, where that is something that people do; else what the reader says.
fn not_json(text: &str, error: &str) -> String {
    let trimmed = text.trim();
    let reason = match trimmed.chars().next() {
        None => "it is empty",
        Some('\u{feff}') => "it begins with a byte order mark; save it as UTF-8 without one",
        Some('\0') => "it is not UTF-8 text; save it as UTF-8",
        _ if trimmed.contains('\0') => "it is not UTF-8 text, perhaps UTF-16; save it as UTF-8",
        Some('"') => {
            "it is a JSON text, with quotes around; write the object itself, without these quotes"
        }
        Some('\'') => "it has quotes around; write the object itself, without them",
        _ if trimmed.starts_with("eyJ") => {
            "it is encoded, as base64 by its look; write the object itself"
        }
        Some('{') if trimmed.starts_with("{\\\"") => {
            "its quotes are escaped (\\\"); write the object itself"
        }
        Some('{') if trimmed.contains(':') && !trimmed.contains('"') => {
            "its keys have no quotes: {\"Network\": \"10.244.0.0/16\"} (a shell takes them away unless the whole is quoted)"
        }
        Some(first) if first != '{' && first != '[' && looks_like_yaml(trimmed) => {
            "it looks like YAML; write it as JSON: {\"Network\": \"10.244.0.0/16\"}"
        }
        _ => return error.to_owned(),
    };
    reason.to_owned()
}

/// Whether some line is a key with a colon behind it.
fn looks_like_yaml(text: &str) -> bool {
    let key = |line: &str| {
        line.trim_start_matches('-')
            .trim()
            .split_once(':')
            .is_some()
    };
    text.starts_with("---") || text.lines().any(key)
}

impl Object {
    /// Reads a document that is one object.
    ///
    /// # Errors
    /// [`JsonError::Syntax`] if it is anything else, or if something follows it.
    pub fn parse(text: &str) -> Result<Self, JsonError> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let members = reader
            .deserialize_map(Members)
            .and_then(|members| reader.end().map(|()| members))
            .map_err(|error| JsonError::Syntax(not_json(text, &error.to_string())))?;
        Ok(Self { members })
    }

    /// The last value under a key, `null` included.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.all(key).last()
    }

    /// A whole number of at most 64 bits without sign. `24.0`, `2.4e1` and `"24"` are none.
    ///
    /// # Errors
    /// [`JsonError::Type`] if any value under the key is something else.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, JsonError> {
        self.read(key, "a whole number", Value::as_u64)
    }

    /// A whole number, which may be negative.
    ///
    /// # Errors
    /// When it is anything else, or too large.
    pub fn i64(&self, key: &str) -> Result<Option<i64>, JsonError> {
        self.read(key, "a whole number", Value::as_i64)
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// [`JsonError::Type`] if any value under the key is something else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, JsonError> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A string.
    ///
    /// # Errors
    /// [`JsonError::Type`] if any value under the key is something else.
    pub fn string(&self, key: &str) -> Result<Option<String>, JsonError> {
        self.read(key, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// A list.
    ///
    /// # Errors
    /// [`JsonError::Type`] if any value under the key is something else.
    pub fn list(&self, key: &str) -> Result<Option<Vec<Value>>, JsonError> {
        self.read(key, "a list", |value| value.as_array().cloned())
    }

    /// The last string under a key for which flannel's own types refuse even `null`: addresses and networks.
    ///
    /// # Errors
    /// [`JsonError::Type`] if any value under the key is something else, `null` included.
    pub(crate) fn required_string(&self, key: &str) -> Result<Option<String>, JsonError> {
        match self.all(key).find(|value| value.is_null()) {
            Some(null) => Err(type_error(key, null, "a string")),
            None => self.string(key),
        }
    }

    /// The keys that match none of `known`, as written and in their order.
    pub fn unknown_keys<'a>(&'a self, known: &[&str]) -> Vec<&'a str> {
        self.members
            .iter()
            .map(|(key, _)| key.as_str())
            .filter(|key| !known.iter().any(|name| same_key(key, name)))
            .collect()
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &Value> {
        let members = self.members.iter().map(|(name, value)| (name, value));
        under(members, key)
    }

    fn read<T>(
        &self,
        key: &str,
        want: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, JsonError> {
        last(self.all(key), key, want, read)
    }
}

/// [`Object::string`] of an object within a document, in place.
///
/// # Errors
/// [`JsonError::Type`] if any value under the key is something else.
pub fn string<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, JsonError> {
    last(under(object.iter(), key), key, "a string", Value::as_str)
}

fn under<'a>(
    members: impl Iterator<Item = (&'a String, &'a Value)>,
    key: &str,
) -> impl Iterator<Item = &'a Value> {
    members
        .filter(move |(name, _)| same_key(name, key))
        .map(|(_, value)| value)
}

fn last<'a, T>(
    values: impl Iterator<Item = &'a Value>,
    key: &str,
    want: &'static str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Option<T>, JsonError> {
    let mut result = None;
    for value in values.filter(|value| !value.is_null()) {
        result = Some(read(value).ok_or_else(|| type_error(key, value, want))?);
    }
    Ok(result)
}

impl From<&Map<String, Value>> for Object {
    fn from(map: &Map<String, Value>) -> Self {
        Self {
            members: map.clone().into_iter().collect(),
        }
    }
}

/// Whether Go takes a document's key for a field's name. Both sides of the comparison are folded as Go folds them:
/// beside ASCII case, two letters of Unicode fold to ASCII ones.
pub fn same_key(key: &str, name: &str) -> bool {
    key == name || key.chars().map(fold).eq(name.chars().map(fold))
}

fn fold(letter: char) -> char {
    match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

fn type_error(key: &str, value: &Value, want: &'static str) -> JsonError {
    const SHOWN: usize = 60;
    let mut found = value.to_string();
    if found.chars().count() > SHOWN {
        found = found.chars().take(SHOWN).chain(['…']).collect();
    }
    JsonError::Type {
        key: key.to_owned(),
        found,
        want,
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(text: &str) -> Object {
        Object::parse(text).unwrap()
    }

    #[test]
    fn keys_match_without_regard_to_case_and_the_last_one_wins() {
        let lens = object(r#"{"SubnetLen":1,"SUBNETLEN":2,"subnetLen":3,"SubnetLen":4}"#);
        assert_eq!(lens.u64("SubnetLen"), Ok(Some(4)));
        let networks = object(r#"{"Network":"a","network":"b"}"#);
        assert_eq!(networks.string("Network"), Ok(Some("b".into())));
    }

    #[test]
    fn the_two_letters_that_go_folds_to_ascii_are_folded() {
        let object = object("{\"Networ\u{212a}\":\"a\",\"\u{17f}ubnetLen\":7}");
        assert_eq!(object.string("Network"), Ok(Some("a".into())));
        assert_eq!(object.u64("SubnetLen"), Ok(Some(7)));
    }

    #[test]
    fn null_leaves_an_earlier_value_as_it_was() {
        let object = object(r#"{"a":1,"A":null,"b":null}"#);
        assert_eq!(object.u64("a"), Ok(Some(1)));
        assert_eq!(object.bool("b"), Ok(None));
        assert_eq!(object.get("b"), Some(&Value::Null));
        assert!(object.required_string("b").is_err());
    }

    #[test]
    fn a_number_is_plain_and_has_no_sign() {
        for text in [
            "\"24\"",
            "24.0",
            "2.4e1",
            "-1",
            "18446744073709551616",
            "[]",
            "{}",
            "true",
        ] {
            let document = format!(r#"{{"SubnetLen":{text}}}"#);
            assert!(object(&document).u64("SubnetLen").is_err(), "{text}");
        }
        assert_eq!(
            object(r#"{"n":18446744073709551615}"#).u64("n"),
            Ok(Some(u64::MAX))
        );
    }

    #[test]
    fn a_wrong_type_is_named_with_key_and_value() {
        let error = object(r#"{"EnableIPv6":"yes"}"#)
            .bool("EnableIPv6")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"EnableIPv6 is "yes", want true or false"#
        );
    }

    #[test]
    fn anything_but_one_object_is_refused() {
        for text in [
            "", "null", "[]", "1", "{} {}", "{}x", "{", "{\"a\":}", "{'a':1}",
        ] {
            assert!(Object::parse(text).is_err(), "{text}");
        }
        assert!(Object::parse(" {} \n").is_ok());
    }

    #[test]
    fn unknown_keys_are_listed_as_written() {
        let object = object(r#"{"network":1,"Netwrok":2,"x":3}"#);
        assert_eq!(object.unknown_keys(&["Network"]), ["Netwrok", "x"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*", key in ".*") {
            if let Ok(object) = Object::parse(&text) {
                let _ = (object.u64(&key), object.bool(&key), object.required_string(&key));
            }
        }

        #[test]
        fn what_serde_json_writes_is_read(map in prop::collection::btree_map("[a-z]{1,4}", any::<u64>(), 0..6)) {
            let text = serde_json::to_string(&map).unwrap();
            let object = object(&text);
            for (key, value) in map {
                prop_assert_eq!(object.u64(&key.to_uppercase()), Ok(Some(value)));
            }
        }
    }
}
