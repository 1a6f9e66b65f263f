//! Attachments that other plugins have made, read from the cache that the runtime's library (libcni) keeps for DEL: a file
//! each, `/var/lib/cni/results/<network>-<container>-<interface>`, written after the last plugin's ADD, removed after its
//! DEL.

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use tweed_model::{Bridged, Mac, Port};

/// The bridge of Go's plugin where its configuration names none.
const GO_BRIDGE: &str = "cni0";

/// An attachment to a bridge, as its file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedAttachment {
    /// Name of the network.
    pub network: String,
    /// Id of the container.
    pub container_id: String,
    /// The interface in it.
    pub ifname: String,
    /// The container's network namespace; empty where it isn't known.
    pub netns: String,
    /// Addresses of the interface, with their prefixes.
    pub addresses: Vec<IpNet>,
    /// Its place in a bridge.
    pub bridged: Bridged,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    kind: String,
    container_id: String,
    /// The whole list, in base64.
    config: String,
    if_name: String,
    network_name: String,
    #[serde(default)]
    netns: String,
    result: Answer,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Answer {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    mac: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Ip {
    address: IpNet,
    gateway: Option<std::net::IpAddr>,
}

/// An attachment of any kind, and where its container's network namespace was.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedPlace {
    /// Name of the network.
    #[serde(rename = "networkName")]
    pub network: String,
    /// Id of the container.
    pub container_id: String,
    /// The interface in it.
    #[serde(rename = "ifName")]
    pub ifname: String,
    /// The path of the namespace; empty where it isn't known.
    #[serde(default)]
    pub netns: String,
    #[serde(default)]
    result: Answer,
}

impl CachedPlace {
    /// Reads a file. Releases of the library before 1.2 wrote no path; the result has one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut place: Self = serde_json::from_str(text).ok()?;
        if place.netns.is_empty() {
            let mut sandboxes = place.result.interfaces.iter().map(|one| &one.sandbox);
            let sandbox = sandboxes.find(|sandbox| !sandbox.is_empty());
            place.netns = sandbox.cloned().unwrap_or_default();
        }
        Some(place)
    }

    /// The host's ends that the result names.
    pub fn host_ends(&self) -> impl Iterator<Item = &str> {
        let all = self.result.interfaces.iter();
        let of_host = all.filter(|one| one.sandbox.is_empty());
        of_host.map(|one| one.name.as_str())
    }
}

/// Reads a file. `saved` returns the configuration that flannel's plugin gave to its delegate for a container. `None`
/// unless the file describes exactly one plain port of a bridge.
pub fn parse(text: &str, saved: impl FnOnce(&str) -> Option<Value>) -> Option<CachedAttachment> {
    let file: File = serde_json::from_str(text).ok()?;
    if file.kind != "cniCacheV1" {
        return None;
    }
    let list: Value = serde_json::from_slice(&decode(&file.config)?).ok()?;
    // A configuration that is no list stands for a list of one.
    let first = list["plugins"].get(0).unwrap_or(&list);
    let conf = match first["type"].as_str()? {
        "bridge" => first.clone(),
        "tweed" if first["mode"].is_string() && first["mode"] != "" => whole(first)?,
        // Both give their delegate the same defaults.
        "flannel" | "tweed" => saved(&file.container_id).unwrap_or_else(|| delegate(first)),
        _ => return None,
    };
    let kind = conf["type"].as_str().unwrap_or("bridge");
    let by_vlan = conf["vlan"].as_i64().unwrap_or(0) != 0 || conf["vlanTrunk"].is_array();
    if kind != "bridge" || by_vlan {
        return None;
    }
    let bridged = bridged(&conf, &file.result).filter(Bridged::is_sound)?;
    let addresses = file.result.ips.iter().map(|ip| ip.address).collect();
    Some(CachedAttachment {
        network: file.network_name,
        container_id: file.container_id,
        ifname: file.if_name,
        netns: file.netns,
        addresses,
        bridged,
    })
}

/// The configuration of the bridge that an entry for a whole pod stands for; `None` where it stands for none.
fn whole(conf: &Value) -> Option<Value> {
    let mut conf = conf
        .as_object()
        .filter(|conf| conf["mode"] == "bridge")?
        .clone();
    conf.insert("type".into(), "bridge".into());
    let is_promisc = conf.get("promiscMode") == Some(&Value::Bool(true));
    conf.entry("isGateway").or_insert(true.into());
    conf.entry("hairpinMode").or_insert((!is_promisc).into());
    Some(conf.into())
}

/// The delegate's configuration as far as the list tells it.
fn delegate(conf: &Value) -> Value {
    let mut delegate = conf["delegate"].clone();
    if let Some(delegate) = delegate.as_object_mut() {
        delegate.entry("isGateway").or_insert(true.into());
        return delegate.clone().into();
    }
    serde_json::json!({"isGateway": true})
}

fn bridged(conf: &Value, result: &Answer) -> Option<Bridged> {
    let is = |key: &str| conf[key].as_bool().unwrap_or(false);
    let name = conf["bridge"].as_str().filter(|name| !name.is_empty());
    let name = name.unwrap_or(GO_BRIDGE);
    let mut of_host = result
        .interfaces
        .iter()
        .filter(|one| one.sandbox.is_empty());
    let bridge = of_host.find(|one| one.name == name)?;
    let mut others = of_host.filter(|one| one.name != name);
    // Two, and one of them is somebody else's.
    let port = others.next().filter(|_| others.next().is_none())?;
    let gateway = is("isGateway") || is("isDefaultGateway");
    let gateways = result.ips.iter().filter(|_| gateway).filter_map(|ip| {
        let net = IpNet::new(ip.gateway?, ip.address.prefix_len());
        net.ok()
    });
    Some(Bridged {
        bridge: name.to_owned(),
        // A bridge with an address keeps its Ethernet address.
        mac: bridge.mac.parse::<Mac>().ok().filter(|_| gateway),
        mtu: conf["mtu"]
            .as_u64()
            .and_then(|mtu| u32::try_from(mtu).ok())
            .filter(|mtu| *mtu != 0),
        promisc: is("promiscMode"),
        gateways: gateways.collect(),
        ports: vec![Port {
            name: port.name.clone(),
            hairpin: is("hairpinMode"),
            isolated: is("portIsolation"),
            ..Port::default()
        }],
        ..Bridged::default()
    })
}

/// Standard base64 with its padding, as Go writes bytes.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for quad in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for byte in quad {
            bits = bits << 6 | u32::from(digit(*byte)?);
        }
        let missing = 4 - quad.len();
        let [_, three @ ..] = (bits << (6 * missing)).to_be_bytes();
        bytes.extend(&three[..3 - missing.min(3)]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As `base64` prints them.
    const BRIDGE: &str = "eyJuYW1lIjoiY2JyMCIsInBsdWdpbnMiOlt7InR5cGUiOiJicmlkZ2UiLCJicmlkZ2UiOiJjbmkwIiwiaXNHYXRld2F5Ijp0cnVlLCJtdHUiOjE0NTAsImhhaXJwaW5Nb2RlIjp0cnVlfV19";
    const FLANNEL: &str = "eyJuYW1lIjoiY2JyMCIsInBsdWdpbnMiOlt7InR5cGUiOiJmbGFubmVsIiwiZGVsZWdhdGUiOnsiaGFpcnBpbk1vZGUiOnRydWV9fV19";

    fn file(config: &str) -> Value {
        json!({
            "kind": "cniCacheV1", "containerId": "abc", "config": config, "ifName": "eth0", "networkName": "cbr0",
            "netns": "/run/netns/x",
            "result": {
                "cniVersion": "1.0.0",
                "interfaces": [
                    {"name": "cni0", "mac": "02:00:00:00:00:01"},
                    {"name": "veth1", "mac": "02:00:00:00:00:02"},
                    {"name": "eth0", "mac": "02:00:00:00:00:03", "sandbox": "/run/netns/x"},
                ],
                "ips": [{"address": "10.244.1.5/24", "gateway": "10.244.1.1", "interface": 2}],
            },
        })
    }

    fn read(file: &Value, saved: Option<Value>) -> Option<CachedAttachment> {
        parse(&file.to_string(), |_| saved)
    }

    #[test]
    fn a_port_of_gos_bridge_is_read_with_its_bridge_and_gateway() {
        let kept = read(&file(BRIDGE), None).unwrap();
        assert_eq!(
            (kept.network.as_str(), kept.netns.as_str()),
            ("cbr0", "/run/netns/x")
        );
        let bridged = kept.bridged;
        assert_eq!((bridged.bridge.as_str(), bridged.mtu), ("cni0", Some(1450)));
        assert_eq!(bridged.mac.unwrap().to_string(), "02:00:00:00:00:01");
        assert_eq!(bridged.gateways, ["10.244.1.1/24".parse().unwrap()].into());
        assert_eq!(
            (bridged.ports[0].name.as_str(), bridged.ports[0].hairpin),
            ("veth1", true)
        );
    }

    #[test]
    fn what_flannels_plugin_gave_its_delegate_goes_before_its_own_configuration() {
        let bridged = read(&file(FLANNEL), None).unwrap().bridged;
        assert_eq!(
            (
                bridged.mtu,
                bridged.ports[0].hairpin,
                bridged.gateways.len()
            ),
            (None, true, 1)
        );
        let saved = json!({"type": "bridge", "mtu": 1400, "isGateway": true});
        let bridged = read(&file(FLANNEL), Some(saved)).unwrap().bridged;
        assert_eq!((bridged.mtu, bridged.ports[0].hairpin), (Some(1400), false));
    }

    #[test]
    fn what_is_no_plain_port_of_a_bridge_is_left_alone() {
        for (path, value) in [
            ("/kind", json!("other")),
            ("/config", json!("e30=")),
            ("/config", json!("!")),
            ("/result/interfaces/0/name", json!("br1")),
            (
                "/result/interfaces/1",
                json!({"name": "veth1", "sandbox": "/x"}),
            ),
            ("/result/interfaces", json!([])),
            ("/result/interfaces/1/name", json!("../veth1")),
        ] {
            let mut file = file(BRIDGE);
            *file.pointer_mut(path).unwrap() = value;
            assert_eq!(read(&file, None), None, "{path}");
        }
        let vlan = json!({"type": "bridge", "vlan": 7});
        assert_eq!(read(&file(FLANNEL), Some(vlan)), None);
        let macvlan = json!({"type": "macvlan"});
        assert_eq!(read(&file(FLANNEL), Some(macvlan)), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(?s).{0,200}", config in "[A-Za-z0-9+/=]{0,40}", name in "(?s).{0,8}") {
            let _ = parse(&text, |_| None);
            let mut file = file(&config);
            file["result"]["interfaces"][0]["name"] = name.into();
            let _ = parse(&file.to_string(), |_| None);
        }

        #[test]
        fn base64_of_any_length_is_decoded(bytes: Vec<u8>) {
            const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let mut text = String::new();
            for three in bytes.chunks(3) {
                let number = three.iter().chain([0, 0].iter()).take(3).fold(0_u32, |n, b| n << 8 | u32::from(*b));
                for place in 0..4 {
                    let digit = DIGITS[(number >> (18 - 6 * place) & 63) as usize];
                    text.push(if place > three.len() { '=' } else { digit.into() });
                }
            }
            proptest::prop_assert_eq!(decode(&text), Some(bytes));
        }
    }
}
