//! Every key of `net-conf.json` with a value of each wrong type.

use serde_json::{Value, json};

use super::*;

/// Keys and their types. A new key needs a row.
const KEYS: [(&str, &[(&str, &str)]); 4] = [
    (
        "",
        &[
            ("Network", "network"),
            ("IPv6Network", "network"),
            ("EnableIPv4", "flag"),
            ("EnableIPv6", "flag"),
            ("EnableNFTables", "flag"),
            ("SubnetLen", "number"),
            ("SubnetMin", "address"),
            ("SubnetMax", "address"),
            ("IPv6SubnetLen", "number"),
            ("IPv6SubnetMin", "address"),
            ("IPv6SubnetMax", "address"),
            ("Backend", "object"),
        ],
    ),
    (
        "vxlan",
        &[
            ("Type", "text"),
            ("VNI", "number"),
            ("Port", "number"),
            ("MTU", "number"),
            ("GBP", "flag"),
            ("Learning", "flag"),
            ("DirectRouting", "flag"),
            ("TxChecksum", "text"),
            // For Windows alone, and read there alone.
            ("MacPrefix", "anything"),
            ("Name", "anything"),
            ("Accept", "list"),
        ],
    ),
    (
        "udp",
        &[
            ("Type", "text"),
            ("Port", "number"),
            ("Workers", "number"),
            ("Persist", "flag"),
            ("Trust", "text"),
            ("BusyPoll", "number"),
            ("KeepAlive", "number"),
            ("Nice", "number"),
            ("Accept", "list"),
        ],
    ),
    ("host-gw", &[("Type", "text")]),
];

fn document(backend: &str, key: &str, value: Value) -> String {
    let mut document = json!({
        "Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:10:244::/48",
        "Backend": {"Type": backend},
    });
    match backend {
        "" => document["Backend"] = json!({"Type": "vxlan"}),
        _ => document["Backend"][key] = value.clone(),
    }
    if backend.is_empty() {
        document[key] = value;
    }
    document.to_string()
}

fn refusal(text: &str) -> Option<String> {
    let parsed = NetworkConfig::parse(text).and_then(|(config, _)| Backends::parse(&config));
    parsed.err().map(|error| error.to_string())
}

#[test]
fn a_value_of_another_type_is_refused_with_key_value_and_what_is_wanted() {
    let values = [
        ("flag", json!(true)),
        ("number", json!(7)),
        ("float", json!(2.5)),
        ("text", json!("text")),
        ("list", json!([3])),
        ("object", json!({"a": 3})),
    ];
    for (backend, keys) in KEYS {
        for (key, kind) in keys {
            let wrong = |(other, _): &&(&str, Value)| other != kind && *kind != "anything";
            for (_, value) in values.iter().filter(wrong) {
                let text = document(backend, key, value.clone());
                let refused = refusal(&text).unwrap_or_else(|| panic!("{text} is taken"));
                let wants = ["want ", "must be ", "is not supported"];
                assert!(refused.contains(key), "{text}: {refused}");
                assert!(
                    wants.iter().any(|word| refused.contains(word)),
                    "{text}: {refused}"
                );
            }
        }
    }
}

#[test]
fn null_is_as_good_as_nothing_but_where_go_refuses_it() {
    for (backend, keys) in KEYS {
        for (key, _) in keys.iter().filter(|(key, _)| *key != "Type") {
            let text = document(backend, key, Value::Null);
            let refused = refusal(&text);
            // Go's types for these refuse null, as flannel does; and a backend that is null has no type.
            let strict = [
                "Network",
                "IPv6Network",
                "SubnetMin",
                "SubnetMax",
                "Backend",
            ];
            let strict = strict.contains(key);
            assert_eq!(refused.is_some(), strict, "{text}: {refused:?}");
        }
    }
}

#[test]
fn the_table_has_every_key() {
    for (backend, known) in [("vxlan", Vxlan::KEYS), ("udp", Udp::KEYS)] {
        let (_, rows) = KEYS.iter().find(|(name, _)| *name == backend).unwrap();
        for key in known {
            let found = rows.iter().any(|(row, _)| row == key);
            assert!(found, "{backend}: {key} needs a row");
        }
    }
}
