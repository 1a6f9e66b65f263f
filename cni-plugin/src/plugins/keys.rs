//! Every key of every plugin, kept as data: its type, its default in the reference (release 1.9.1, flannel's plugin
//! 1.9.1-flannel1; `stateDir`, `runDir`, `acceptRA` and `exec` are ours), and another value, which must make a
//! difference.

use std::ffi::OsString;

use serde::Deserialize;
use serde_json::{Value, json};

use super::PLUGINS;
use crate::runtime::plugin::Request;
use crate::spec::{Call, NetConf};

const TABLE: &str = include_str!("../../tests/data/keys.json");

/// A key of a plugin.
#[derive(Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) plugin: String,
    key: String,
    r#type: String,
    #[serde(default)]
    with: Value,
    default: Option<Value>,
    pub(crate) other: Option<Value>,
}

/// The table, with a row for each plugin where one is for all.
pub(crate) fn rows() -> Vec<Row> {
    let rows: Vec<Row> = serde_json::from_str(TABLE).unwrap();
    rows.into_iter()
        .flat_map(|row| {
            let names = PLUGINS.0.iter().map(|row| row.name.to_owned());
            let names: Vec<String> = match row.plugin.as_str() {
                "*" => names.collect(),
                "flannel" => vec!["flannel".into(), "tweed".into()],
                name => vec![name.to_owned()],
            };
            names.into_iter().map(move |plugin| Row {
                plugin,
                ..row.clone()
            })
        })
        .collect()
}

/// What a plugin makes of a configuration, in words that differ where that does.
fn read(plugin: &str, conf: Value) -> Result<String, String> {
    let env = |name: &str| (name == "CNI_PATH").then(|| OsString::from("/nowhere"));
    let call = Call::from_env("STATUS", &env).unwrap();
    let row = PLUGINS.find(plugin).unwrap();
    let read = NetConf::from_value(conf, row.versions).and_then(|conf| {
        conf.check_types()?;
        row.plugin.configuration(&Request {
            call: &call,
            conf: &conf,
            plugins: PLUGINS,
        })
    });
    read.map(|config| format!("{config:?}"))
        .map_err(|error| error.to_string())
}

/// As little as the plugin of a row accepts, with what the row needs beside its key.
fn base(row: &Row) -> Value {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": row.plugin});
    if ["host-local", "ptp", "vlan", "dummy"].contains(&row.plugin.as_str()) {
        conf["ipam"] = json!({"type": "host-local", "ranges": [[{"subnet": "10.0.0.0/24"}]]});
    }
    match row.plugin.as_str() {
        "vlan" => conf["master"] = "eth1".into(),
        "host-device" => conf["device"] = "eth1".into(),
        "static" | "dhcp" => conf["ipam"] = json!({"type": row.plugin}),
        _ => {}
    }
    for (key, value) in row.with.as_object().into_iter().flatten() {
        match (conf.get_mut(key).and_then(Value::as_object_mut), value) {
            (Some(there), Value::Object(more)) => there.extend(more.clone()),
            _ => conf[key] = value.clone(),
        }
    }
    conf
}

/// The same with this value of the key.
pub(crate) fn with(row: &Row, value: &Value) -> Value {
    let mut conf = base(row);
    let mut place = &mut conf;
    for part in row.key.split('.') {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part],
        };
    }
    *place = value.clone();
    conf
}

#[test]
fn a_key_left_out_is_its_default_in_the_reference_and_another_value_is_not() {
    for row in rows() {
        let (plugin, key) = (row.plugin.as_str(), &row.key);
        let left_out = read(plugin, base(&row));
        if let Some(default) = &row.default {
            let default = read(plugin, with(&row, default));
            assert!(left_out.is_ok(), "{plugin} {key}: {left_out:?}");
            assert_eq!(left_out, default, "{plugin} {key}");
        }
        if let Some(other) = &row.other {
            let other = read(plugin, with(&row, other));
            assert_ne!(left_out, other, "{plugin} {key} makes no difference");
        }
    }
}

#[test]
fn null_is_as_good_as_nothing() {
    for row in rows().iter().filter(|row| !row.key.ends_with(".0")) {
        let left_out = read(&row.plugin, base(row));
        if row.default.is_some() {
            let null = read(&row.plugin, with(row, &Value::Null));
            assert_eq!(null, left_out, "{} {}", row.plugin, row.key);
        }
    }
}

#[test]
fn a_value_of_another_type_is_refused_with_the_key_what_is_there_and_what_is_wanted() {
    let values = [
        ("flag", json!(true)),
        ("number", json!(3)),
        ("float", json!(2.5)),
        ("text", json!("text")),
        ("list", json!([])),
        ("object", json!({})),
    ];
    for row in rows() {
        for (_, value) in values.iter().filter(|(kind, _)| *kind != row.r#type) {
            let (plugin, key) = (row.plugin.as_str(), &row.key);
            let what = format!("{plugin} {key}: {value}");
            let error = read(plugin, with(&row, value)).expect_err(&what);
            let leaf = key.split('.').rfind(|part| part.parse::<usize>().is_err());
            assert!(error.contains(leaf.unwrap()), "{what}: {error}");
            let words = ["expected ", "want ", "invalid IP address", "invalid CIDR"];
            assert!(
                words.iter().any(|word| error.contains(word)),
                "{what}: {error}"
            );
        }
    }
}
