//! Lists of plugins, called as a runtime calls them.

use serde_json::{Value, json};

use super::super::lab::{Answer, Call, Host, Pod};
use super::super::traffic::mapping;

/// A network: its plugins in order, and the folder of its reservations.
pub(super) struct Network {
    pub(super) name: &'static str,
    /// What its addresses begin with.
    pub(super) prefix: &'static str,
    plugins: Vec<Call>,
}

/// What came of a list's ADD: the result, or the number of the plugin that failed, and its answer.
pub(super) type Added = Result<Value, (usize, Answer)>;

const SUBNET_ENV: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";

/// Networks whose plugins are a process each: the list of clusters with all that is chained to it; a small one, whose
/// addresses are soon given for the second time; one without a bridge.
pub(super) fn one_by_one(host: &Host) -> Vec<Network> {
    std::fs::write(host.path("subnet.env"), SUBNET_ENV).unwrap();
    let flannel = json!({
        "type": "flannel", "subnetFile": host.path("subnet.env"), "dataDir": host.path("flannel"),
        "ipam": {"dataDir": host.path("data")},
        "delegate": {"isDefaultGateway": true, "hairpinMode": true, "stateDir": host.path("run")},
    });
    let bridge = json!({
        "type": "bridge", "bridge": "cni1", "isDefaultGateway": true, "ipMasq": true,
        "ipam": host.ipam(&["10.77.0.0/26"]),
    });
    let ptp = json!({"type": "ptp", "ipMasq": true, "ipam": host.ipam(&["10.88.0.0/25"])});
    let tuning = json!({
        "type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mtu": 1400,
        "dataDir": host.path("tuning"),
    });
    let [portmap, bandwidth, firewall] =
        ["portmap", "bandwidth", "firewall"].map(|name| json!({"type": name}));
    let all = [
        flannel,
        portmap.clone(),
        bandwidth.clone(),
        tuning.clone(),
        firewall,
    ];
    vec![
        Network::new(host, "chain", "10.244.1.", &all),
        Network::new(
            host,
            "small",
            "10.77.0.",
            &[bridge, portmap.clone(), tuning],
        ),
        Network::new(host, "routed", "10.88.0.", &[ptp, portmap, bandwidth]),
    ]
}

impl Network {
    pub(super) fn new(
        host: &Host,
        name: &'static str,
        prefix: &'static str,
        plugins: &[Value],
    ) -> Self {
        let nowhere = Pod::new();
        let call = |plugin: &Value| {
            let mut conf = plugin.clone();
            conf["cniVersion"] = "1.1.0".into();
            conf["name"] = name.into();
            conf["stateDir"] = json!(host.path("run"));
            host.call(plugin["type"].as_str().unwrap(), conf, &nowhere)
        };
        Self {
            name,
            prefix,
            plugins: plugins.iter().map(call).collect(),
        }
    }

    /// Whether one of these plugins is in the list.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        let mut plugins = self.plugins.iter();
        plugins.any(|call| names.contains(&call.conf()["type"].as_str().unwrap()))
    }

    pub(super) fn length(&self) -> usize {
        self.plugins.len()
    }

    /// The call of one plugin for a container that wants a port of the host, which may be none.
    pub(super) fn call(&self, index: usize, pod: &Pod, host_port: Option<u16>) -> Call {
        let call = self.plugins[index]
            .container_id(pod.name())
            .netns(&pod.path());
        let mut wanted = json!({});
        let plugin = call.conf()["type"].as_str().unwrap();
        if plugin == "portmap" || plugin == "tweed" {
            let mappings: Vec<Value> = host_port
                .map(|port| mapping("tcp", "", port, 80))
                .into_iter()
                .collect();
            wanted["portMappings"] = mappings.into();
        }
        if plugin == "bandwidth" || plugin == "tweed" {
            wanted["bandwidth"] = json!({
                "ingressRate": 80_000_000, "ingressBurst": 8_000_000,
                "egressRate": 80_000_000, "egressBurst": 8_000_000,
            });
        }
        call.set("runtimeConfig", wanted)
    }

    /// ADD of the first plugins.
    pub(super) fn add(&self, pod: &Pod, host_port: Option<u16>, plugins: usize) -> Added {
        let mut result = Value::Null;
        for index in 0..plugins {
            let call = self.call(index, pod, host_port).after(&result);
            let answer = call.run("ADD");
            if answer.code != 0 {
                return Err((index, answer));
            }
            result = serde_json::from_str(&answer.stdout).unwrap();
        }
        Ok(result)
    }

    /// DEL of the last plugins, in reverse, with what ADD resulted in, if that is known.
    pub(super) fn del(&self, pod: &Pod, host_port: Option<u16>, result: &Value, down_to: usize) {
        for index in (down_to..self.length()).rev() {
            self.call(index, pod, host_port).after(result).ok("DEL");
        }
    }

    /// CHECK of all.
    pub(super) fn check(&self, pod: &Pod, host_port: Option<u16>, result: &Value) {
        for index in 0..self.length() {
            self.call(index, pod, host_port).after(result).ok("CHECK");
        }
    }

    /// GC of all.
    pub(super) fn gc(&self, valid: &[(&str, &str)]) {
        for plugin in &self.plugins {
            plugin.valid(valid).ok("GC");
        }
    }
}
