//! The plugins that make an interface, each with a configuration that works on a host which is prepared for all.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, sh};

/// The subnet from which all take addresses.
pub(crate) const SUBNET: &str = "10.1.2.0/24";

/// A plugin, and the keys that it needs.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) plugin: &'static str,
    keys: Value,
}

/// Those that every kernel has.
pub(crate) fn subjects() -> Vec<Subject> {
    [
        ("ptp", json!({"ipMasq": true})),
        ("macvlan", json!({"master": "up0"})),
        ("host-device", json!({"device": "nic0"})),
        ("tap", json!({})),
    ]
    .map(|(plugin, keys)| Subject { plugin, keys })
    .into()
}

/// Those that not every kernel has.
pub(crate) fn rarer_subjects() -> Vec<Subject> {
    [
        ("vlan", json!({"master": "up0", "vlanId": 100})),
        ("ipvlan", json!({"master": "up0"})),
        ("dummy", json!({})),
    ]
    .map(|(plugin, keys)| Subject { plugin, keys })
    .into()
}

/// An uplink, and a device to be lent, each with its other end beside it.
pub(crate) fn prepare() {
    sh("ip link add up0 type veth peer name wire0 && ip link set up0 up && ip link set wire0 up");
    add_device();
}

/// The device to be lent. A virtual one goes with its container.
pub(crate) fn add_device() {
    sh(
        "ip link add nic0 type veth peer name nic1 && ip link set nic0 alias spare && ip link set nic1 up",
    );
}

impl Subject {
    /// A call for a pod.
    pub(crate) fn call(&self, host: &Host, pod: &Pod) -> Call {
        let mut conf = json!({
            "cniVersion": "1.1.0", "name": "net", "type": self.plugin, "ipam": host.ipam(&[SUBNET]),
            "stateDir": host.path("run"),
        });
        for (key, value) in self.keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        host.call(self.plugin, conf, pod)
    }
}

/// What the host has, in a form that can be compared.
pub(crate) fn state(host: &Host) -> Vec<String> {
    let mut links = host.links();
    links.sort();
    let aliases = sh("ip -o link | grep -o 'alias .*' || true");
    links.extend(aliases.lines().map(str::to_owned));
    links.extend(host.reservations("net"));
    let records = std::fs::read_dir(host.path("run")).into_iter().flatten();
    links.extend(records.map(|entry| entry.unwrap().path().display().to_string()));
    let ruleset = sh("nft list ruleset");
    links.extend(
        ruleset
            .lines()
            .filter(|line| line.contains("comment \"net/"))
            .map(str::to_owned),
    );
    links
}
