//! What a network configuration means that its writer may not have meant. Nothing of it is wrong.

use std::net::IpAddr;

use serde_json::Value;
use tweed_model::json::Object;
use tweed_model::{NetworkConfig, Pool};

/// Notes about a configuration that was read from this text, for a host with this uplink. What no pod network may hold is
/// `apart`, in words and by address.
pub fn notes(
    text: &str,
    config: &NetworkConfig,
    uplink: Option<&(String, u32)>,
    apart: &[(String, IpAddr)],
) -> Vec<String> {
    let Ok(object) = Object::parse(text) else {
        return Vec::new();
    };
    let mut notes = Vec::new();
    for (what, addr) in apart {
        let holds = |pool: &&Pool| pool.network.contains(addr);
        if let Some(pool) = config.pools.values().find(holds) {
            notes.push(format!(
                "the pod network {} holds {addr}, {what}: no agent takes such a network; choose another one",
                pool.network
            ));
        }
    }
    if object.get("Backend").is_none() {
        notes.push(
            "there is no Backend, which means udp, as in flannel; for VXLAN say \"Backend\": {\"Type\": \"vxlan\"}"
                .to_owned(),
        );
    }
    for (network, switch, on) in [
        ("IPv6Network", "EnableIPv6", config.pools.v6.is_some()),
        ("Network", "EnableIPv4", config.pools.v4.is_some()),
    ] {
        if !on && object.string(network).is_ok_and(|found| found.is_some()) {
            notes.push(format!(
                "{network} is set and {switch} is not true: that family is off"
            ));
        }
    }
    if let Some((name, most)) = uplink {
        for (place, wanted) in mtus(config)
            .into_iter()
            .filter(|(_, mtu)| *mtu > u64::from(*most))
        {
            notes.push(format!(
                "{place} is {wanted}, and the uplink of this host, {name}, has {most}: large packets get lost where a \
                 node's uplink is like that; leave it out, and each node takes its uplink's"
            ));
        }
    }
    notes
}

/// The MTUs that are set, with their keys.
fn mtus(config: &NetworkConfig) -> Vec<(String, u64)> {
    let own = Object::from(&config.backend);
    let accepted = own.list("Accept").ok().flatten().unwrap_or_default();
    let accepted = accepted.iter().enumerate().filter_map(|(index, entry)| {
        let Value::Object(entry) = entry else {
            return None;
        };
        Some((format!("Backend.Accept[{index}].MTU"), Object::from(entry)))
    });
    let all = std::iter::once(("Backend.MTU".to_owned(), own)).chain(accepted);
    all.filter_map(|(place, options)| Some((place, options.u64("MTU").ok()??)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        let (config, _) = NetworkConfig::parse(text).expect("a configuration");
        let store = ("a server of the store".to_owned(), [192, 0, 2, 1].into());
        notes(text, &config, Some(&("eth0".to_owned(), 1500)), &[store]).join("; ")
    }

    #[test]
    fn what_may_surprise_is_said() {
        for (text, wanted) in [
            (
                r#"{"Network":"192.0.2.0/24","Backend":{"Type":"vxlan"}}"#,
                "the pod network 192.0.2.0/24 holds 192.0.2.1, a server of the store",
            ),
            (
                r#"{"Network":"10.3.0.0/16"}"#,
                "no Backend, which means udp",
            ),
            (
                r#"{"Network":"10.3.0.0/16","IPv6Network":"fd00::/48","Backend":{"Type":"vxlan"}}"#,
                "IPv6Network is set and EnableIPv6 is not true",
            ),
            (
                r#"{"Network":"10.3.0.0/16","Backend":{"Type":"vxlan","mtu":9000}}"#,
                "Backend.MTU is 9000, and the uplink of this host, eth0, has 1500",
            ),
            (
                r#"{"Network":"10.3.0.0/16","Backend":{"Type":"udp","Accept":[{"Type":"vxlan","MTU":9000}]}}"#,
                "Backend.Accept[0].MTU is 9000",
            ),
        ] {
            let found = of(text);
            assert!(found.contains(wanted), "{text}: {found}");
        }
    }

    #[test]
    fn what_is_meant_is_not_remarked_upon() {
        for text in [
            r#"{"Network":"10.3.0.0/16","Backend":{"Type":"udp"}}"#,
            r#"{"Network":"10.3.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"vxlan","MTU":1500}}"#,
        ] {
            assert_eq!(of(text), "");
        }
    }
}
