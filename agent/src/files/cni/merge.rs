//! A list with entries of others. Chained plugins such as istio-cni and linkerd-cni append themselves to the first list of
//! the folder: what belongs to us of it may change, theirs stay. Pure.

use serde_json::{Map, Value};

use super::conflist::is_flannels;

/// The entries that flannel's lists and the built-in ones of earlier versions have.
const USUAL: [&str; 3] = ["flannel", "tweed", "portmap"];

/// A list of flannel's or ours, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts {
    /// The list without them.
    pub(super) own: Value,
    /// What others have appended, in its order.
    pub(super) appended: Vec<Value>,
}

impl Parts {
    /// Takes a list apart. Its own entries are those of the types in `placed`, which an earlier run has placed, or in a list
    /// that it hasn't placed the usual ones; and those that are `wanted` now. `None` for a list of somebody else's.
    pub(super) fn of(list: &[u8], wanted: &str, placed: Option<&[String]>) -> Option<Self> {
        let mut own: Value = serde_json::from_slice(list).ok()?;
        let wanted = types(wanted);
        let among = |types: &[String], kind: &str| types.iter().any(|one| one == kind);
        let first = own["plugins"][0]["type"].as_str()?;
        let placed = placed.filter(|placed| among(placed, first));
        if placed.is_none() && !is_flannels(list) {
            return None;
        }
        let is_own = |entry: &Value| {
            let kind = entry["type"].as_str().unwrap_or_default();
            let known = match placed {
                Some(placed) => among(placed, kind),
                None => USUAL.contains(&kind),
            };
            known || among(&wanted, kind)
        };
        let entries = own.get_mut("plugins")?.as_array_mut()?;
        let (mine, appended) = std::mem::take(entries).into_iter().partition(is_own);
        *entries = mine;
        Some(Self { own, appended })
    }

    /// Whether this is the wanted list, whatever others have made of its form.
    pub(super) fn is(&self, wanted: &str) -> bool {
        canonical(&self.own) == canonical_text(wanted)
    }

    /// The names of what others have appended.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.appended.iter().map(|entry| entry["type"].as_str());
        names.flatten().map(str::to_owned).collect()
    }
}

/// The wanted list with the entries of others behind its own. Without any it is the text as it came.
pub(super) fn merged(wanted: &str, appended: &[Value]) -> String {
    let list = serde_json::from_str::<Value>(wanted);
    match list {
        Ok(mut list) if !appended.is_empty() => {
            if let Some(entries) = list.get_mut("plugins").and_then(Value::as_array_mut) {
                entries.extend_from_slice(appended);
            }
            format!("{list:#}\n")
        }
        _ => wanted.to_owned(),
    }
}

/// The types of a list's entries.
pub(super) fn types(list: &str) -> Vec<String> {
    let list: Value = serde_json::from_str(list).unwrap_or_default();
    let entries = list["plugins"].as_array().into_iter().flatten();
    let names = entries.filter_map(|entry| entry["type"].as_str());
    names.map(str::to_owned).collect()
}

/// A list in one form, whatever the order of its keys and the blanks between them.
pub(super) fn canonical(list: &Value) -> String {
    sorted(list).to_string()
}

/// The same of a text; of one that can't be read, the text.
pub(super) fn canonical_text(list: &str) -> String {
    let read = serde_json::from_str(list);
    read.map_or_else(|_| list.to_owned(), |list| canonical(&list))
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let pairs = keys.into_iter().map(|key| (key.clone(), sorted(&map[key])));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str =
        r#"{"cniVersion":"1.0.0","name":"cbr0","plugins":[{"type":"tweed","capabilities":{}}]}"#;

    fn parts(list: &Value, placed: Option<&[String]>) -> Option<Parts> {
        Parts::of(list.to_string().as_bytes(), OURS, placed)
    }

    fn with(entries: &[&str]) -> Value {
        let entries: Vec<Value> = entries.iter().map(|kind| json!({"type": kind})).collect();
        json!({"name": "cbr0", "plugins": entries})
    }

    #[test]
    fn entries_of_others_are_told_from_those_that_were_placed() {
        let of = |entries: &[&str], placed: Option<&[String]>| {
            parts(&with(entries), placed).map(|parts| parts.names())
        };
        let placed = ["tweed".to_owned(), "bandwidth".to_owned()];
        let flannels = ["flannel", "portmap", "istio-cni"];
        assert_eq!(
            of(&flannels, Some(&placed)),
            Some(vec!["istio-cni".to_owned()])
        );
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(of(&["tweed"], None), names(&[]));
        assert_eq!(of(&["flannel", "portmap"], None), names(&[]));
        let chained = ["flannel", "portmap", "bandwidth", "istio-cni"];
        assert_eq!(of(&chained, None), names(&["bandwidth", "istio-cni"]));
        let chained = ["tweed", "bandwidth", "portmap", "linkerd-cni"];
        assert_eq!(
            of(&chained, Some(&placed)),
            names(&["portmap", "linkerd-cni"])
        );
        assert_eq!(of(&["calico", "tweed"], None), None);
        assert_eq!(of(&["istio-cni"], None), None);
    }

    #[test]
    fn a_list_is_the_same_in_any_form_and_another_with_any_other_value() {
        let mut list = json!({"plugins": [{"capabilities": {}, "type": "tweed"}, {"type": "istio-cni", "a": 1}], "name": "cbr0", "cniVersion": "1.0.0"});
        assert!(parts(&list, None).is_some_and(|parts| parts.is(OURS)));
        list["plugins"][0]["capabilities"]["portMappings"] = true.into();
        assert!(!parts(&list, None).is_some_and(|parts| parts.is(OURS)));
    }

    #[test]
    fn what_is_merged_is_taken_apart_into_the_same() {
        let appended = [json!({"type": "istio-cni", "kubernetes": {"b": 1, "a": [2]}})];
        let text = merged(OURS, &appended);
        let parts = Parts::of(text.as_bytes(), OURS, None).expect("ours");
        assert!(parts.is(OURS));
        assert_eq!(parts.appended, appended);
        assert_eq!(merged(OURS, &[]), OURS);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,80}", plugins in "null|1|\\[\\]|\\[1\\]|\\[\\{\"type\":\"tweed\"\\},[0-9]\\]|\\{\\}") {
            for text in [text, format!(r#"{{"name":"n","plugins":{plugins}}}"#)] {
                let _ = Parts::of(text.as_bytes(), &text, None);
                let _ = merged(&text, &[json!({"type": "x"})]);
            }
        }
    }
}
