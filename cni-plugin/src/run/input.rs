//! What one plugin of a list gets on standard input.

use serde_json::{Map, Value, json};

use super::go_json;
use super::list::{Entry, NetworkList};
use crate::spec::{Attachment, json};

/// For ADD, DEL and CHECK: with the result of the plugin before or of the whole list, and the runtime's values for the
/// capabilities that the plugin has.
pub(crate) fn of_attachment(
    list: &NetworkList,
    entry: &Entry,
    prev: Option<&Value>,
    values: &Map<String, Value>,
) -> String {
    let mut conf = named(list, entry);
    let given = entry.capabilities.iter();
    let given = given.filter_map(|name| Some((name.clone(), values.get(name)?.clone())));
    let given: Map<String, Value> = given.collect();
    if !given.is_empty() {
        conf.insert("runtimeConfig".into(), given.into());
    }
    if prev.is_some() {
        conf.insert("prevResult".into(), Value::Null);
    }
    let mut conf = json::sorted(&conf.into());
    // Its keys have the order that its version gives them.
    if let Some(prev) = prev {
        conf["prevResult"] = prev.clone();
    }
    go_json::line(&conf)
}

/// For GC and STATUS. The list of attachments has two keys, since the specification had the second by mistake.
pub(crate) fn of_network(
    list: &NetworkList,
    entry: &Entry,
    valid: Option<&[Attachment]>,
) -> String {
    let mut conf = named(list, entry);
    if let Some(valid) = valid {
        let valid: Value = valid
            .iter()
            .map(|key| json!({"containerID": key.container_id, "ifname": key.ifname}))
            .collect();
        conf.insert("cni.dev/valid-attachments".into(), valid.clone());
        conf.insert("cni.dev/attachments".into(), valid);
    }
    go_json::line(&json::sorted(&conf.into()))
}

/// Every plugin has the list's name and version.
fn named(list: &NetworkList, entry: &Entry) -> Map<String, Value> {
    let mut conf = entry.conf.clone();
    conf.insert("name".into(), list.name.as_str().into());
    conf.insert("cniVersion".into(), list.version_text.into());
    conf
}
