//! Right inputs, from which wrong ones are made.

use std::sync::OnceLock;

use serde_json::{Value, json};
use tweed_fuzz::{Source, changed};

use crate::plugins::keys::{rows, with};

/// Results, as each version of the specification has them.
pub(super) const RESULTS: [&str; 5] = [
    r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.2.9/24","gateway":"10.1.2.1","routes":[{"dst":"0.0.0.0/0"}]},"ip6":{"ip":"fd00::9/64"},"dns":{"nameservers":["10.0.0.1"]}}"#,
    r#"{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","sandbox":"/run/netns/a","mac":"02:00:00:00:00:01"}],"ips":[{"version":"4","interface":0,"address":"10.1.2.9/24","gateway":"10.1.2.1"}],"routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}],"dns":{}}"#,
    r#"{"cniVersion":"1.0.0","interfaces":[{"name":"cni0"},{"name":"veth1","mac":"02:00:00:00:00:02"},{"name":"eth0","sandbox":"/run/netns/a"}],"ips":[{"interface":2,"address":"10.1.2.9/24"},{"interface":2,"address":"fd00::9/64","gateway":"fd00::1"}],"dns":{"domain":"a.example","search":["b"],"options":["c"]}}"#,
    r#"{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","mtu":1450,"sandbox":"/run/netns/a","socketPath":"/s","pciID":"0000:00:01.0"}],"ips":[{"address":"10.1.2.9/24"}],"routes":[{"dst":"10.0.0.0/8","mtu":1400,"advmss":1360,"priority":10,"table":100,"scope":253}]}"#,
    r#"{"cniVersion":"1.1.0"}"#,
];

/// What a runtime may add.
const ADDED: [&str; 6] = [
    r#"{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp","hostIP":"192.0.2.1"},{"hostPort":53,"containerPort":53,"protocol":"udp"}]}"#,
    r#"{"bandwidth":{"ingressRate":8000000,"ingressBurst":800000,"egressRate":8000000,"egressBurst":800000}}"#,
    r#"{"ips":["10.0.0.9/24","fd00::9"],"mac":"02:00:00:00:00:09"}"#,
    r#"{"ipRanges":[[{"subnet":"10.7.0.0/24","rangeStart":"10.7.0.9"}],[{"subnet":"fd07::/64"}]]}"#,
    r#"{"aliases":{"net":["a"]},"dns":{"servers":["10.0.0.1"]}}"#,
    "{}",
];

const VALID: [&str; 2] = [
    r#"[{"containerID":"abc","ifname":"eth0"},{"containerID":"def","ifname":"net1"}]"#,
    "[]",
];

/// A configuration of one plugin, which is named beside it.
pub(super) type Sample = (String, Value);

/// Right configurations: each key of each plugin with another value than its default.
fn samples() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let of_row = |row: &crate::plugins::keys::Row| {
            let conf = with(row, row.other.as_ref()?);
            Some((row.plugin.clone(), conf))
        };
        rows().iter().filter_map(of_row).collect()
    })
}

/// A configuration with several keys, and what runtimes add. Some have keys of another plugin.
pub(super) fn configuration(source: &mut Source) -> Sample {
    let all = samples();
    let (plugin, mut conf) = all[source.below(all.len())].clone();
    let own: Vec<&Sample> = all.iter().filter(|(other, _)| *other == plugin).collect();
    for _ in 0..source.below(4) {
        let (_, more) = match source.once_in(8) {
            true => &all[source.below(all.len())],
            false => own[source.below(own.len())],
        };
        for (key, value) in more.as_object().into_iter().flatten() {
            conf[key] = value.clone();
        }
    }
    conf["type"] = plugin.as_str().into();
    let version = source.pick(&["1.1.0", "1.1.0", "1.0.0", "0.4.0", "0.3.1", "0.2.0", ""]);
    conf["cniVersion"] = version.into();
    let text = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    if source.once_in(2) {
        let result = RESULTS.map(text);
        let fits = result.into_iter().find(|one| one["cniVersion"] == version);
        conf["prevResult"] = fits.unwrap_or_else(|| json!({}));
    }
    if source.once_in(2) {
        conf["runtimeConfig"] = text(source.pick(&ADDED));
    }
    if source.once_in(4) {
        conf["args"] = json!({"cni": text(source.pick(&ADDED))});
    }
    if source.once_in(2) {
        conf["cni.dev/valid-attachments"] = text(source.pick(&VALID));
    }
    (plugin, conf)
}

/// One of these texts, mostly with a change.
pub(super) fn damaged(source: &mut Source, texts: &[&str]) -> String {
    match source.once_in(4) {
        true => source.pick(texts).to_owned(),
        false => changed(source, texts),
    }
}
