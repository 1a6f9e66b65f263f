//! `docs/CNI.md` and the table of the plugins' keys agree: each key has a row in its plugin's section, with its type and
//! its default, and each row is a key.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use tweed_house::root;

/// A key's type and default, by plugin and key.
type Keys = BTreeMap<(String, String), (String, String)>;

/// The section of what is said of all plugins.
const ALL: &str = "Keys of all plugins";

/// As `docs/CNI.md` writes it: the first of a list stands for each.
fn written(key: &str) -> String {
    let mut text = String::new();
    for part in key.split('.') {
        match part.parse::<usize>() {
            Ok(_) => text.push_str("[]"),
            Err(_) if text.is_empty() => text.push_str(part),
            Err(_) => text.push_str(&format!(".{part}")),
        }
    }
    text
}

fn default_of(row: &Value) -> String {
    match row.get("default") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn keys() -> Keys {
    let text = fs::read_to_string(root().join("cni-plugin/tests/data/keys.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| {
            let plugin = match row["plugin"].as_str().unwrap() {
                "*" => ALL.to_owned(),
                name => name.to_owned(),
            };
            let key = written(row["key"].as_str().unwrap());
            ((plugin, key), (text(row, "type"), default_of(row)))
        })
        .collect()
}

/// What stands in backticks in a cell of a table, or nothing.
fn code(cell: &str) -> String {
    cell.split('`').nth(1).unwrap_or_default().to_owned()
}

/// The rows whose first cell is a key, by section.
fn documented(text: &str) -> Keys {
    let mut section = String::new();
    let mut found = Keys::new();
    let mut is_of_keys = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim().to_owned();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells.as_slice() {
            [_, "Key", "Type", "Default", ..] => is_of_keys = true,
            [_, key, kind, default, ..] if is_of_keys && key.starts_with('`') => {
                let value = ((*kind).to_owned(), code(default));
                found.insert((section.clone(), code(key)), value);
            }
            [_] => is_of_keys = false,
            _ => {}
        }
    }
    found
}

#[test]
fn every_key_of_a_plugin_is_in_its_section_with_type_and_default() {
    let text = fs::read_to_string(root().join("docs/CNI.md")).unwrap();
    let (keys, documented) = (keys(), documented(&text));
    assert!(documented.len() > 50, "the tables are not found");
    let wrong: Vec<String> = keys
        .iter()
        .filter(|(name, row)| documented.get(*name) != Some(row))
        .map(|((plugin, key), (kind, default))| {
            format!("## {plugin}: want | `{key}` | {kind} | `{default}` |")
        })
        .collect();
    assert!(wrong.is_empty(), "docs/CNI.md lacks:\n{}", wrong.join("\n"));
    let known: BTreeSet<_> = keys.keys().collect();
    let more: Vec<_> = documented
        .keys()
        .filter(|name| !known.contains(name))
        .collect();
    assert!(more.is_empty(), "no such keys in keys.json: {more:?}");
}

#[test]
fn this_test_would_notice() {
    let text = "## ptp\n| Key | Type | Default | x |\n|---|---|---|---|\n| `mtu` | number | `0` | a |\n| `dns` | object | | b |\n\n| `no` | a | b |\n";
    let found = documented(text);
    let name = |key: &str| ("ptp".to_owned(), key.to_owned());
    assert_eq!(found.len(), 2);
    assert_eq!(found[&name("mtu")], ("number".to_owned(), "0".to_owned()));
    assert_eq!(found[&name("dns")], ("object".to_owned(), String::new()));
    assert_eq!(written("ipam.ranges.0.0.subnet"), "ipam.ranges[][].subnet");
}
