//! What this node must not announce: other nodes would refuse it, or lose packets by it.

use std::net::IpAddr;

use tweed_model::{Dual, Family, Host, Pool, admit, host};

use crate::host::uplink::Choice;

/// Why an address that would be announced is no node's.
pub(super) fn check(pools: &Dual<Pool>, choice: &Choice) -> Result<(), String> {
    for addr in choice.public.values() {
        if let Some(why) = admit::no_node(pools, addr) {
            return Err(format!(
                "{addr} can't be announced as this node's public address: {why}; name another one with --public-ip or \
                 --public-ipv6, or correct the annotation"
            ));
        }
    }
    let mut public = choice.public.values();
    match public.next() {
        Some(IpAddr::V6(addr)) if addr.is_unicast_link_local() => Err(format!(
            "{addr} of {} can't be announced: it is link-local, and other nodes can't tell of which link; give the \
             interface another {} address",
            choice.uplink.name,
            Family::V6
        )),
        _ => Ok(()),
    }
}

/// Why this host can't be in the pod networks; says what it can only warn of.
pub(super) fn check_host(pools: &Dual<Pool>, choice: &Choice, host: &Host) -> Result<(), String> {
    if let Some(conflict) = host::conflict(pools, &choice.uplink, &choice.public, host) {
        return Err(conflict);
    }
    if let Some((network, link)) = host::covered(pools, host) {
        tracing::warn!(
            %network, net = %link.net, dev = link.dev,
            "the pod network is a part of what is on a link: that part of the link can't be reached from here"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tweed_model::{NetworkConfig, Uplink};

    use super::*;

    fn said(own: &str, public: &str) -> Option<String> {
        let text =
            r#"{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:244::/48"}"#;
        let (config, _) = NetworkConfig::parse(text).expect("a configuration");
        let addrs = |addr: &str| Dual::of_addrs([addr.parse().expect("an address")]);
        let choice = Choice {
            uplink: Uplink {
                name: "eth0".into(),
                index: 2,
                mtu: 1500,
                addrs: addrs(own),
                onlink: Vec::new(),
                learned_default: false,
            },
            public: addrs(public),
            settled: Dual::default(),
            reason: String::new(),
            passed_over: Vec::new(),
            doubts: Vec::new(),
        };
        check(&config.pools, &choice).err()
    }

    #[test]
    fn an_address_that_others_would_refuse_is_not_announced() {
        for (public, why) in [
            ("127.0.0.1", "loopback"),
            ("10.244.3.1", "inside the pod network"),
            ("224.0.0.5", "multicast"),
            ("0.0.0.7", "of no host"),
            ("fd00:10:244::5", "inside the pod network"),
            ("fe80::5", "link-local"),
        ] {
            let said = said("198.18.0.1", public).unwrap_or_default();
            assert!(
                said.contains(why) && said.contains(public),
                "{public}: {said}"
            );
        }
        assert_eq!(said("198.18.0.1", "203.0.113.7"), None, "behind NAT");
        assert_eq!(
            said("169.254.3.4", "169.254.3.4"),
            None,
            "neighbours without DHCP"
        );
    }
}
