//! What a lease says for its backend, as it stands in the store. It is kept as JSON text: thousands of leases are held, and
//! as a tree of values each would take ten times as much.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::json::{self, JsonError};

/// A JSON value, as compact text.
#[derive(Clone)]
pub struct BackendData(Box<str>);

impl BackendData {
    /// Reads the text.
    pub fn value(&self) -> Value {
        // It was written from a value.
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }

    /// A member that is a text; `None` where there is none, and where this is no object.
    ///
    /// # Errors
    /// When the member is something else.
    pub fn string(&self, key: &str) -> Result<Option<String>, JsonError> {
        match self.value() {
            Value::Object(object) => Ok(json::string(&object, key)?.map(str::to_owned)),
            _ => Ok(None),
        }
    }

    /// Bytes of the text.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.0.starts_with('{')
    }
}

impl From<Value> for BackendData {
    fn from(value: Value) -> Self {
        Self(value.to_string().into())
    }
}

impl From<&Value> for BackendData {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl Eq for BackendData {}

impl PartialEq for BackendData {
    /// The order of members does not count.
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.value() == other.value()
    }
}

impl fmt::Display for BackendData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BackendData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for BackendData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_the_value_that_it_was_made_of_whatever_the_order_of_its_members() {
        let data = |value: Value| BackendData::from(value);
        let value = json!({ "VNI": 1, "VtepMAC": "a<\u{2028}\"", "X": [1.5, -7, null] });
        assert_eq!(data(value.clone()).value(), value);
        assert_eq!(
            data(json!({ "a": 1, "b": 2 })),
            data(json!({ "b": 2, "a": 1 }))
        );
        assert_ne!(data(json!({ "a": 1 })), data(json!({ "a": 2 })));
        assert_eq!(data(json!("text")).string("VtepMAC"), Ok(None));
        let named = data(json!({ "vtepmac": "x" })).string("VtepMAC");
        assert_eq!(named, Ok(Some("x".to_owned())));
    }
}
