//! A chained plugin behind `bridge`, and what each must survive: errors of the kernel, being killed, DELs in any order.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod};
use super::mishaps::{LOSSES, Loss, injected};

/// The system calls by which plugins change something, or ask.
pub(crate) const CALLS: [&str; 6] = ["sendto", "setns", "rename", "mkdir", "unlink", "write"];

/// The same with those by which files come and change. Between two of them a process changes nothing: being killed at any
/// other call is being killed at the next of these.
pub(crate) const FILES: [&str; 9] = [
    "sendto",
    "setns",
    "rename",
    "mkdir",
    "unlink",
    "write",
    "openat",
    "pwrite64",
    "ftruncate",
];

/// More calls of one kind than any plugin makes.
const MOST: usize = 200;

/// A container with addresses of both families, and the call of the plugin that follows.
pub(crate) struct Chained {
    pub(crate) pod: Pod,
    pub(crate) bridge: Call,
    /// With what `bridge` resulted in.
    pub(crate) call: Call,
}

/// Attaches a container, and makes ready a plugin with these keys.
pub(crate) fn behind_bridge(host: &Host, plugin: &str, keys: &Value) -> Chained {
    behind_bridge_in("1.0.0", host, plugin, keys)
}

/// The same in a version of the specification.
pub(crate) fn behind_bridge_in(version: &str, host: &Host, plugin: &str, keys: &Value) -> Chained {
    let pod = Pod::new();
    let conf = host.bridge_conf(version, &["10.1.2.0/24", "fd00:1:2::/64"]);
    let bridge = host.call("bridge", conf, &pod);
    let result = bridge.add();
    let mut conf = json!({
        "cniVersion": version, "name": "net", "type": plugin, "stateDir": host.path("run"),
    });
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    let call = host.call(plugin, conf, &pod).after(&result);
    Chained { pod, bridge, call }
}

impl Chained {
    /// The host's end of the container's veth pair.
    pub(crate) fn host_end(&self) -> String {
        let names = self.call.conf()["prevResult"]["interfaces"].as_array();
        let name = names.unwrap()[1]["name"].as_str();
        name.unwrap().to_owned()
    }
}

/// The names of a folder's files.
pub(crate) fn files(folder: &std::path::Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Has each of the plugin's system calls fail, one a time, and kills it before each: whatever happens, an ADD that fails
/// leaves nothing, a DEL removes everything, and an ADD works on what is there. `state` is all that there could be.
pub(crate) fn survives_errors_and_kills(host: &Host, call: &Call, state: &dyn Fn() -> String) {
    survives_errors(host, call, state);
    survives_kills_at(host, call, &CALLS, state);
}

/// Has each of the plugin's system calls fail, one a time: an ADD that fails leaves nothing.
pub(crate) fn survives_errors(host: &Host, call: &Call, state: &dyn Fn() -> String) {
    survives_errors_at(host, call, &CALLS, state);
}

/// The same for system calls of these names.
pub(crate) fn survives_errors_at(
    host: &Host,
    call: &Call,
    names: &[&str],
    state: &dyn Fn() -> String,
) {
    let before = state();
    let mut tried = 0;
    for name in names.iter().copied() {
        for number in 1..MOST {
            let what = format!("{name} {number} fails");
            let Some(answer) = injected(host, call, name, "error=ENOBUFS", number) else {
                break;
            };
            tried += 1;
            // Without its last write the runtime has no result, and removes what there is.
            if answer.code == 0 || name == "write" {
                call.ok("DEL");
            }
            assert_eq!(state(), before, "{what}: {answer:?}");
        }
        call.ok("DEL");
    }
    println!("{tried} errors");
    assert!(tried >= names.len(), "only {tried} points were tried");
    assert_eq!(state(), before);
}

/// Kills the plugin before each of its system calls of these names: a DEL removes everything, and an ADD works on what is
/// there.
pub(crate) fn survives_kills_at(
    host: &Host,
    call: &Call,
    names: &[&str],
    state: &dyn Fn() -> String,
) {
    let before = state();
    let mut tried = 0;
    for name in names.iter().copied() {
        for number in 1..MOST {
            let what = format!("killed at {name} {number}");
            if injected(host, call, name, "signal=KILL", number).is_none() {
                break;
            }
            tried += 1;
            if number % 2 == 0 {
                call.after(&added(call)).ok("CHECK");
            }
            call.ok("DEL");
            assert_eq!(state(), before, "{what}");
        }
        call.ok("DEL");
    }
    println!("{tried} kills");
    assert!(tried >= names.len(), "only {tried} points were tried");
    assert_eq!(state(), before);
}

/// ADD on what is there. A plugin that hands out addresses refuses a second one, as the reference does: then after a DEL.
fn added(call: &Call) -> Value {
    let answer = call.run("ADD");
    if answer.code == 0 {
        return serde_json::from_str(&answer.stdout).unwrap();
    }
    assert_eq!(answer.error().0, 101, "{answer:?}");
    call.ok("DEL");
    call.add()
}

/// Everything that a runtime may have lost when it removes a container: DEL succeeds, and what is left is as before.
pub(crate) fn del_needs_nothing(
    host: &Host,
    plugin: &str,
    keys: &Value,
    state: &dyn Fn() -> String,
) {
    let more: [Loss; 4] = [
        ("the path", |_, call| call.netns("")),
        ("the result", |_, call| call.set("prevResult", Value::Null)),
        ("a result that makes sense", |_, call| {
            call.set("prevResult", json!({"cniVersion": "0.1.0", "ips": 3}))
        }),
        ("the keys", |_, call| {
            let kept = ["cniVersion", "name", "stateDir", "dataDir"];
            let keys = call.conf().as_object().unwrap().keys();
            let gone = keys.filter(|key| !kept.contains(&key.as_str()));
            gone.fold(call.clone(), |call, key| call.set(key, Value::Null))
        }),
    ];
    for (what, lose) in LOSSES.into_iter().chain(more) {
        let Chained { pod, bridge, call } = behind_bridge(host, plugin, keys);
        let before = state();
        call.add();
        let call = lose(&pod, &call);
        call.ok("DEL");
        call.ok("DEL");
        bridge.netns("").ok("DEL");
        drop(pod);
        let after = state();
        assert!(after.len() <= before.len(), "{what}: {after}");
    }
}
