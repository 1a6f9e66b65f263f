use std::collections::BTreeSet;

use serde_json::Value;

use super::*;
use crate::daemon::facts::Facts;
use crate::daemon::status::parts::Repair;

/// Every field below `at`, and what kind of value it has.
fn fields(at: &str, value: &Value, found: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    found.insert(format!("{at}: {kind}"));
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                fields(&format!("{at}.{key}"), value, found);
            }
        }
        Value::Array(list) => {
            if let Some(first) = list.first() {
                fields(&format!("{at}[]"), first, found);
            }
        }
        _ => {}
    }
}

/// A script reads these. One that goes, or means something else, raises `SCHEMA`.
#[test]
fn the_document_has_the_fields_of_its_schema() {
    let mut facts = Facts::default();
    facts.agent.started = Some(1);
    facts.agent.pid = Some(2);
    facts.session.uplink_mtu = Some(1500);
    facts.session.subnets = Dual::of_nets(["10.5.1.0/24".parse().expect("a subnet")]);
    facts.bridges = vec![tweed_state::attached::UsedBridge {
        name: "cni0".to_owned(),
        addrs: vec!["10.5.1.1/24".parse().expect("an address")],
        ports: 1,
    }];
    facts.kernel.checked = Some(3);
    facts.kernel.last_repair = Some(Repair {
        at: Some(4),
        what: "link a".to_owned(),
    });
    let status = Status::of(&facts, Instant::now());
    let value = serde_json::to_value(&status).expect("JSON");
    let mut found = BTreeSet::new();
    fields("", &value, &mut found);
    let text: String = found.iter().map(|field| format!("{field}\n")).collect();
    assert_eq!(
        text,
        include_str!("schema-2.txt"),
        "the fields are:\n{text}"
    );
}

#[test]
fn a_repair_as_agents_of_schema_1_tell_it_is_read() {
    let told: Repair = serde_json::from_str(r#""link a""#).expect("a repair");
    assert_eq!((told.at, &*told.what), (None, "link a"));
    let text = serde_json::to_string(&Repair {
        at: Some(4),
        ..told
    })
    .expect("JSON");
    assert_eq!(text, r#"{"at":4,"what":"link a"}"#);
}
