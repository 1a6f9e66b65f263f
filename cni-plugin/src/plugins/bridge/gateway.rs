//! The gateway's address on the bridge, and forwarding.
//!
//! When a node gets another subnet, the bridge still has the old gateway. Go's plugin refuses every pod from then on,
//! until the bridge is deleted. Here the bridge takes the new one by itself, as soon as no pod uses the old subnet.

use std::collections::BTreeSet;

use ipnet::IpNet;
use tweed_model::Family;
use tweed_model::subnet::first_addr;
use tweed_netlink::{AddrInfo, AddrSpec, LinkInfo, Netlink};

use super::config::BridgeConfig;
use super::device;
use crate::net::routes::everywhere;
use crate::net::sysctl::enable_forwarding;
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Request;
use crate::spec::{CniError, CniResult, Context, Kind, Route};

/// Fills in the gateways that the IPAM plugin left open, and the default routes that are wanted.
pub(super) fn complete(result: &mut CniResult, config: &BridgeConfig) {
    if !config.gateway {
        return;
    }
    for ip in &mut result.ips {
        ip.gateway = ip.gateway.or_else(|| first_addr(&ip.address));
    }
    if !config.default_gateway {
        return;
    }
    for family in Family::BOTH {
        let everywhere = everywhere(family);
        let known = result.routes.iter().any(|route| route.dst == everywhere);
        let mut ips = result.ips.iter();
        let gateway = ips.find_map(|ip| ip.gateway.filter(|gw| Family::of(gw) == family));
        if let (false, Some(gateway)) = (known, gateway) {
            result.routes.push(Route::new(everywhere, Some(gateway)));
        }
    }
}

/// The gateways of a result with the lengths of their subnets, each once.
pub(super) fn gateways(result: &CniResult) -> BTreeSet<IpNet> {
    let ips = result.ips.iter();
    ips.filter_map(|ip| IpNet::new(ip.gateway?, ip.address.prefix_len()).ok())
        .collect()
}

/// Where gateways' addresses go.
pub(super) struct Site<'a> {
    pub(super) bridge: &'a LinkInfo,
    /// The interface that has the addresses: the bridge, or that of its VLAN.
    pub(super) holder: &'a LinkInfo,
    pub(super) config: &'a BridgeConfig,
    /// The whole call.
    pub(super) request: &'a Request<'a>,
    /// The IPAM plugin.
    pub(super) ipam: Option<&'a Delegate>,
}

impl Site<'_> {
    /// Gives the holder the gateways' addresses, and lets packets pass.
    ///
    /// # Errors
    /// When another address is in the way that may be in use.
    pub(super) fn ensure(
        &self,
        netlink: &mut Netlink,
        gateways: &BTreeSet<IpNet>,
    ) -> Result<(), CniError> {
        let present = netlink.addrs(Some(self.holder.index))?;
        for gateway in gateways {
            if present.iter().any(|addr| addr.net == *gateway) {
                continue;
            }
            let in_the_way = present
                .iter()
                .filter(|addr| !gateways.contains(&addr.net) && excludes(addr.net, *gateway));
            self.replace(netlink, *gateway, in_the_way)
                .context(|| "failed to set bridge addr")?;
        }
        let families: BTreeSet<Family> = gateways.iter().map(Family::of_net).collect();
        families.into_iter().try_for_each(enable_forwarding)
    }

    fn replace<'a>(
        &self,
        netlink: &mut Netlink,
        gateway: IpNet,
        in_the_way: impl Iterator<Item = &'a AddrInfo>,
    ) -> Result<(), CniError> {
        for old in in_the_way {
            if !self.config.force_address {
                self.may_replace(netlink, old, gateway)?;
            }
            match netlink.del_addr(self.holder.dev(), old.net) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        // Looking for duplicates would keep the first pods without a gateway for a second or two.
        let spec = AddrSpec {
            net: gateway,
            broadcast: true,
            nodad: true,
        };
        match netlink.add_addr(self.holder.dev(), &spec) {
            Err(error) if !error.is_exists() => return Err(error.into()),
            _ => {}
        }
        // Containers keep the gateway's address in their ARP caches.
        if self.holder.kind == "bridge" && !device::is_pinned(self.holder) {
            device::pin(netlink, self.holder)?;
        }
        Ok(())
    }

    /// Refuses unless an address is an earlier lease's gateway that no pod needs any more. What doesn't look like a
    /// gateway is an administrator's, and stays.
    fn may_replace(
        &self,
        netlink: &mut Netlink,
        old: &AddrInfo,
        gateway: IpNet,
    ) -> Result<(), CniError> {
        let (name, old) = (&self.holder.name, old.net);
        let refuse = |why: &str, fix: &str| {
            let msg = format!("{name:?} already has an IP address different from {gateway}");
            let error = CniError::new(Kind::Conflict, msg);
            Err(error.details(format!(
                "{why}; {fix}, set \"forceAddress\": true, or run `ip addr del {old} dev {name}`"
            )))
        };
        if Some(old.addr()) != first_addr(&old) {
            let why = format!("{old} is no gateway of pods, so it is left alone");
            return refuse(&why, "name another bridge");
        }
        let ports = device::ports(netlink, self.bridge)?;
        // Containers alone don't keep the address, if it is known that none has one there.
        let only_pods = ports.iter().all(|port| port.kind == "veth");
        if ports.is_empty() || (only_pods && !self.may_be_held(&old)) {
            return Ok(());
        }
        let why = format!(
            "interfaces that are connected ({}) may use {old}",
            ports.len()
        );
        refuse(&why, "drain this node's pods of the old subnet")
    }

    /// Whether a container may hold an address of a subnet. Where the IPAM plugin isn't known, nothing rules it out.
    fn may_be_held(&self, subnet: &IpNet) -> bool {
        self.ipam
            .is_none_or(|ipam| ipam.may_hold(self.request, subnet))
    }
}

/// Whether an address can't stay beside a gateway's: any other of IPv4, overlapping ones of IPv6.
fn excludes(old: IpNet, gateway: IpNet) -> bool {
    match (old, gateway) {
        (IpNet::V4(_), IpNet::V4(_)) => true,
        (IpNet::V6(old), IpNet::V6(gateway)) => {
            old.contains(&gateway.addr()) || gateway.contains(&old.addr())
        }
        _ => false,
    }
}
