//! Reading JSON as Go's decoder does, since that is what existing configurations were written against: keys match
//! whatever their case, the last of several wins, `null` means unset, unknown keys are passed over.

use std::collections::BTreeMap;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeOwned, Deserializer, Error as _, IntoDeserializer, MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};
use tweed_model::json::same_key;

/// Reads a document. Bytes that are not UTF-8 are replaced, not refused.
///
/// # Errors
/// When it is not one JSON value.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Error> {
    serde_json::from_str(&String::from_utf8_lossy(bytes))
}

/// Reads a value into a type. Errors say under which keys they happened.
///
/// # Errors
/// When a value has another type than its field.
pub(crate) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    T::deserialize(Lenient(value))
}

/// The value of a key, whatever its case; `null` counts as absent, and the last of several goes.
pub(crate) fn get<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    let same = object.iter().filter(|(k, _)| same_key(k, key));
    same.map(|(_, value)| value).rfind(|value| !value.is_null())
}

/// The same of a value that is no object: it has none.
pub(crate) fn get_in<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    get(value.as_object()?, key)
}

/// Removes a key in every spelling and answers what it held.
pub(crate) fn take(object: &mut Map<String, Value>, key: &str) -> Option<Value> {
    let value = get(object, key).cloned();
    object.retain(|k, _| !same_key(k, key));
    value
}

/// Gives a key a value unless it has one.
pub(crate) fn set_default(
    object: &mut Map<String, Value>,
    key: &str,
    value: impl FnOnce() -> Value,
) {
    if get(object, key).is_none() {
        put(object, key, value());
    }
}

/// Gives a key a value, in place of what it has in any spelling.
pub(crate) fn put(object: &mut Map<String, Value>, key: &str, value: Value) {
    take(object, key);
    object.insert(key.to_owned(), value);
}

/// Compact text with sorted keys, as Go prints maps.
pub(crate) fn to_sorted_string(value: &Value) -> String {
    sorted(value).to_string()
}

/// The same value with the keys of all objects in order.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let by_key: BTreeMap<&String, &Value> = object.iter().collect();
            by_key
                .into_iter()
                .map(|(k, v)| (k.clone(), sorted(v)))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[derive(Clone, Copy)]
struct Lenient<'de>(&'de Value);

impl<'de> Deserializer<'de> for Lenient<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(Lenient)))
            }
            Value::Object(members) => visitor.visit_map(Members {
                members: members.iter().map(|(k, v)| (k.as_str(), v)).collect(),
                current: None,
            }),
            plain => plain.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let members = match self.0 {
            Value::Object(members) => members,
            // Serde would take a list for the members in their order.
            Value::Array(_) => return Err(Error::invalid_type(Unexpected::Seq, &"an object")),
            _ => return self.deserialize_any(visitor),
        };
        let mut known: BTreeMap<&'static str, &Value> = BTreeMap::new();
        for (key, value) in members {
            let field = fields.iter().find(|field| same_key(key, field));
            if let Some(field) = field.filter(|_| !value.is_null()) {
                known.insert(field, value);
            }
        }
        visitor.visit_map(Members {
            members: known.into_iter().collect(),
            current: None,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, Error> for Lenient<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Members of an object that remember, for the error message, which one is being read.
struct Members<'de> {
    members: std::collections::VecDeque<(&'de str, &'de Value)>,
    current: Option<(&'de str, &'de Value)>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Error;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.members.pop_front();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Error> {
        let (key, value) = self
            .current
            .ok_or_else(|| Error::custom("a value was asked for before its key"))?;
        seed.deserialize(Lenient(value))
            .map_err(|error| Error::custom(format!("{key}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Sample {
        host_port: u16,
        name: String,
        list: Vec<Inner>,
        on: Option<bool>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Inner {
        min_id: Option<i32>,
    }

    fn sample(value: Value) -> Result<Sample, String> {
        read(&value).map_err(|e| e.to_string())
    }

    #[test]
    fn keys_match_whatever_their_case_at_every_depth() {
        let read = sample(json!({"HOSTPORT": 80, "List": [{"MinId": 3}], "unknown": {"a": 1}}));
        let expected = Sample {
            host_port: 80,
            list: vec![Inner { min_id: Some(3) }],
            ..Sample::default()
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn the_last_spelling_wins_and_null_is_unset() {
        let value = parse(br#"{"name":"a","NAME":"b","list":null,"on":null,"hostPort":null}"#);
        let expected = Sample {
            name: "b".into(),
            ..Sample::default()
        };
        assert_eq!(sample(value.unwrap()), Ok(expected));
    }

    #[test]
    fn a_key_is_looked_up_by_the_rule_by_which_an_object_is_read() {
        let value =
            parse("{\"name\":\"a\",\"NAME\":\"b\",\"Name\":null,\"ho\u{17f}tPort\":80}".as_bytes())
                .unwrap();
        let object = value.as_object().unwrap();
        assert_eq!(get(object, "name"), Some(&json!("b")));
        assert_eq!(get(object, "hostPort"), Some(&json!(80)));
        let read = sample(value).unwrap();
        assert_eq!((read.name.as_str(), read.host_port), ("b", 80));
    }

    #[test]
    fn a_wrong_type_is_an_error_that_names_the_keys() {
        let error = sample(json!({"list": [{"minID": "3"}]})).unwrap_err();
        assert!(
            error.starts_with("list: minId: invalid type: string"),
            "{error}"
        );
        assert!(
            sample(json!({"hostPort": 80.0})).is_err(),
            "a float is no integer"
        );
        let error = sample(json!({"list": [[3]]})).unwrap_err();
        assert_eq!(error, "list: invalid type: sequence, expected an object");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_replaced() {
        assert_eq!(parse(b"\"a\xffb\"").unwrap(), json!("a\u{fffd}b"));
    }

    #[test]
    fn objects_print_with_sorted_keys() {
        let value = json!({"b": [{"z": 1, "a": 2}], "a": null});
        assert_eq!(
            to_sorted_string(&value),
            r#"{"a":null,"b":[{"a":2,"z":1}]}"#
        );
    }
}
