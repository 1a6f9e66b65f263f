//! Configurations of a plugin: a first one, and that with each key at each value, made of `keys.json` and
//! `matrix.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::data;

/// What `matrix.json` says of a plugin.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// The configuration to start from.
    base: Value,
    /// Follows `bridge`, and gets its result.
    #[serde(default)]
    pub(crate) chained: bool,
    /// Values of keys, where `keys.json` has none that works on a host.
    #[serde(default)]
    values: BTreeMap<String, Vec<Value>>,
    /// Keys of which each value is tried with each of the other.
    #[serde(default)]
    pairs: Vec<[String; 2]>,
    /// Further cases.
    #[serde(default)]
    more: Vec<More>,
    /// The release of Go's plugins that first had a key or a case.
    #[serde(default)]
    since: BTreeMap<String, String>,
    /// Keys that are not compared, with the reason.
    #[serde(default)]
    without: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct More {
    label: String,
    #[serde(default)]
    with: BTreeMap<String, Value>,
    /// Commands for the host and the container before ADD.
    #[serde(default)]
    host: String,
    #[serde(default)]
    pod: String,
    /// `CNI_ARGS`.
    #[serde(default)]
    args: String,
}

/// One input.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) label: String,
    pub(crate) conf: Value,
    pub(crate) host: String,
    pub(crate) pod: String,
    pub(crate) args: String,
}

/// The first release with which pairs of keys are tried.
const PAIRS_FROM: Release = [1, 6, 0];

/// A release, of which one that was built later than a tag is newer.
pub(crate) type Release = [u32; 3];

/// The release that a text such as `v1.9.1-3d27709` names; the newest where it names none.
pub(crate) fn release(text: &str) -> Release {
    let text = text.trim().trim_start_matches('v');
    let (number, is_later) = match text.split_once('-') {
        Some((number, _)) => (number, 1),
        None => (text, 0),
    };
    let parts: Vec<u32> = number.split('.').flat_map(str::parse).collect();
    match parts.as_slice() {
        [major, minor, patch] => [*major, *minor, patch + is_later],
        _ => [u32::MAX; 3],
    }
}

pub(crate) fn plans() -> BTreeMap<String, Plan> {
    serde_json::from_str(&data("matrix.json")).unwrap()
}

/// Keys of a plugin with the value that `keys.json` tries.
fn keys(plugin: &str) -> Vec<(String, Option<Value>)> {
    let rows: Vec<Value> = serde_json::from_str(&data("keys.json")).unwrap();
    let rows = rows.iter().filter(|row| row["plugin"] == plugin);
    rows.map(|row| {
        let key = row["key"].as_str().unwrap().to_owned();
        (key, row.get("other").cloned())
    })
    .collect()
}

impl Plan {
    /// All cases that plugins of a release can be given.
    pub(crate) fn cases(&self, plugin: &str, release: Release) -> Vec<Case> {
        let knows = |what: &String| {
            self.since
                .get(what)
                .is_none_or(|since| release >= self::release(since))
        };
        let with = |label: String, settings: &[(&String, &Value)]| {
            let mut conf = self.base.clone();
            for (key, value) in settings {
                set(&mut conf, key, value);
            }
            let (host, pod, args) = (String::new(), String::new(), String::new());
            Case {
                label,
                conf,
                host,
                pod,
                args,
            }
        };
        let mut cases = vec![with("as little as it needs".into(), &[])];
        let keys = keys(plugin);
        for (key, other) in &keys {
            for value in self
                .tried(key, other.as_ref())
                .iter()
                .filter(|_| knows(key))
            {
                cases.push(with(format!("{key} {value}"), &[(key, value)]));
            }
        }
        let values = |key: &String| {
            let other = keys.iter().find(|(name, _)| name == key);
            self.tried(key, other.and_then(|(_, other)| other.as_ref()))
        };
        // They take minutes, and old releases know few of these keys.
        let pairs = self.pairs.iter().filter(|_| release >= PAIRS_FROM);
        for [first, second] in pairs.filter(|pair| pair.iter().all(knows)) {
            for a in values(first) {
                for b in values(second) {
                    let label = format!("{first} {a} {second} {b}");
                    cases.push(with(label, &[(first, &a), (second, &b)]));
                }
            }
        }
        for more in self
            .more
            .iter()
            .filter(|more| knows(&more.label) && more.with.keys().all(knows))
        {
            let settings: Vec<_> = more.with.iter().collect();
            let (host, pod, args) = (more.host.clone(), more.pod.clone(), more.args.clone());
            cases.push(Case {
                host,
                pod,
                args,
                ..with(more.label.clone(), &settings)
            });
        }
        cases
    }

    /// The values at which a key is tried by itself.
    fn tried(&self, key: &str, other: Option<&Value>) -> Vec<Value> {
        if self.without.contains_key(key) {
            return Vec::new();
        }
        let named = self.values.get(key).cloned();
        named.unwrap_or_else(|| other.cloned().into_iter().collect())
    }

    /// Keys that no case sets, and words here that name no key.
    pub(crate) fn gaps(&self, plugin: &str) -> Vec<String> {
        let cases = self.cases(plugin, [u32::MAX; 3]);
        let known: BTreeSet<String> = keys(plugin).into_iter().map(|(key, _)| key).collect();
        let unset = known.iter().filter(|key| {
            let set = cases.iter().any(|case| is_set(&case.conf, key));
            !set && !self.without.contains_key(*key)
        });
        let mut gaps: Vec<String> = unset
            .map(|key| format!("{plugin}: no case sets {key}"))
            .collect();
        let words = self
            .values
            .keys()
            .chain(self.without.keys())
            .chain(self.pairs.iter().flatten());
        let unknown = words.filter(|word| !known.contains(*word));
        gaps.extend(unknown.map(|word| format!("{plugin}: there is no key {word}")));
        gaps
    }
}

/// Whether a configuration has a member, in any of the places of a list.
fn is_set(conf: &Value, key: &str) -> bool {
    let Some((part, rest)) = key.split_once('.') else {
        return match conf {
            Value::Array(list) => !list.is_empty(),
            _ => !conf[key].is_null(),
        };
    };
    match (conf, part.parse::<usize>()) {
        (Value::Array(list), Ok(_)) => list.iter().any(|value| is_set(value, rest)),
        _ => is_set(&conf[part], rest),
    }
}

/// Sets a member of a configuration, given by keys and positions; null removes it.
fn set(conf: &mut Value, key: &str, value: &Value) {
    let mut place = &mut *conf;
    let parts: Vec<&str> = key.split('.').collect();
    for (depth, part) in parts.iter().enumerate() {
        let next = parts
            .get(depth + 1)
            .map(|next| next.parse::<usize>().is_ok());
        let empty = || match next {
            Some(true) => json!([]),
            Some(false) => json!({}),
            None => Value::Null,
        };
        place = match part.parse::<usize>() {
            Ok(index) => {
                let list = place.as_array_mut().unwrap();
                list.resize_with((index + 1).max(list.len()), || Value::Null);
                if list[index].is_null() {
                    list[index] = empty();
                }
                &mut list[index]
            }
            Err(_) => place
                .as_object_mut()
                .unwrap()
                .entry(*part)
                .or_insert_with(empty),
        };
    }
    *place = value.clone();
    if let (Value::Null, Value::Object(whole)) = (value, conf) {
        whole.retain(|_, value| !value.is_null());
    }
}

#[test]
fn a_release_that_was_built_after_a_tag_is_newer() {
    assert!(release("v1.9.1-3d27709") > release("v1.9.1"));
    assert!(release("v1.10.0") > release("v1.9.1-3d27709"));
    assert!(release("version unknown") > release("v99.0.0"));
}

#[test]
fn values_are_set_where_their_key_says() {
    let mut conf = json!({"a": {"b": 1}});
    set(&mut conf, "a.c.0.d", &json!(2));
    assert_eq!(conf, json!({"a": {"b": 1, "c": [{"d": 2}]}}));
    set(&mut conf, "a", &Value::Null);
    assert_eq!(conf, json!({}));
}
