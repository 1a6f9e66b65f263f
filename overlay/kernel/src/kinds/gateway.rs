//! Addresses of containers' gateways: on a bridge, or on the interface that stands for one of its VLANs.

use ipnet::IpNet;
use tweed_host::KernelError;
use tweed_netlink::AddrSpec;

use super::refusal::{hosts_own, refused};
use crate::linux::Linux;

/// `RT_SCOPE_UNIVERSE`.
const GLOBAL: u8 = 0;

/// Adds a gateway's address, unless that would take from the host what it has elsewhere.
pub(crate) fn put(linux: &mut Linux, name: &str, net: IpNet) -> Result<(), KernelError> {
    let Some(there) = linux.netlink.link(name)? else {
        return Err(refused(name, "it was removed again"));
    };
    let of_vlan = name.rsplit_once('.').filter(|_| there.kind == "veth");
    let bridge = match of_vlan {
        Some((bridge, _)) => linux.netlink.link(bridge)?,
        None => Some(there.clone()),
    };
    if bridge.is_none_or(|bridge| bridge.kind != "bridge") || hosts_own(linux, name) {
        let why = format!("{net} is to be a gateway's, and this is no bridge: remove the record");
        return Err(refused(name, &why));
    }
    let addrs = linux.netlink.addrs(None)?.into_iter();
    let of_others = addrs.filter(|addr| addr.index != there.index && addr.scope == GLOBAL);
    if let Some(other) = taken(&net, of_others.map(|addr| addr.net)) {
        let why = format!("gateway {net} would take the way to the host's own {other}");
        return Err(refused(name, &why));
    }
    // As the plugin puts it.
    let spec = AddrSpec {
        net,
        broadcast: true,
        nodad: true,
    };
    Ok(linux.netlink.put_addr(there.dev(), &spec)?)
}

/// What the host would lose to a gateway's network: one of its addresses on other interfaces, or all.
fn taken(net: &IpNet, others: impl Iterator<Item = IpNet>) -> Option<IpNet> {
    let networks = others.filter(|other| other.prefix_len() < other.max_prefix_len());
    let mut networks = networks.map(|other| other.trunc());
    let other = networks.find(|other| net.trunc().contains(other));
    let special = net.prefix_len() == 0 || net.addr().is_loopback();
    other.or_else(|| special.then(|| net.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_around_a_network_of_the_host_or_around_all_is_refused() {
        let taken = |net: &str| {
            let others = ["192.0.2.7/24", "10.244.1.0/32"].map(|other| other.parse().unwrap());
            taken(&net.parse().unwrap(), others.into_iter()).is_some()
        };
        for net in [
            "192.0.2.1/24",
            "192.0.0.1/16",
            "0.0.0.1/0",
            "127.0.0.1/8",
            "::2/0",
        ] {
            assert!(taken(net), "{net}");
        }
        for net in ["10.244.1.1/24", "192.0.2.65/26", "fe80::1/64", "fd00::1/64"] {
            assert!(!taken(net), "{net}");
        }
    }
}
