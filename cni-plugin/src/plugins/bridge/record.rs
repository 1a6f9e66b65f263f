//! The record of an attachment's place in the bridge: the agent restores it when another program changes it.

use tweed_model::{Bridged, Mac, Port, Vlan};
use tweed_netlink::{LinkInfo, Netlink};

use super::config::BridgeConfig;
use super::{device, gateway, vlan};
use crate::spec::{CniError, CniResult};

/// What stands once an attachment is complete: its bridge, the host's end of its pair, its result and the only source
/// address of its frames, and the interface that has the gateway's address of its VLAN.
///
/// # Errors
/// When the kernel doesn't answer.
pub(super) fn bridged(
    netlink: &mut Netlink,
    config: &BridgeConfig,
    (bridge, host_end, result, only_source): (&LinkInfo, &str, &CniResult, Option<Mac>),
    of_vlan: &Option<LinkInfo>,
) -> Result<Bridged, CniError> {
    let gateways = match config.gateway {
        true => gateway::gateways(result),
        false => Default::default(),
    };
    let pinned = device::is_pinned(bridge) || !gateways.is_empty() && of_vlan.is_none();
    let vlans = config.vlans.as_ref();
    let wanted = vlans.map(vlan::wanted).unwrap_or_default();
    let port = Port {
        name: host_end.to_owned(),
        hairpin: config.hairpin,
        isolated: config.isolated,
        vlans: wanted.iter().map(of_entry).collect(),
        keeps_default_vlan: vlans.is_some_and(|vlans| vlans.keep_default),
        only_source,
    };
    let mut ports = vec![port];
    if let Some(holder) = of_vlan {
        ports.extend(gateway_port(
            netlink,
            holder,
            vlans.and_then(|vlans| vlans.native),
        )?);
    }
    Ok(Bridged {
        bridge: bridge.name.clone(),
        mac: bridge.mac.filter(|_| pinned),
        mtu: config.mtu,
        promisc: config.promisc,
        vlan_filtering: config.vlans.is_some(),
        gateways,
        holder: of_vlan.as_ref().map(|holder| holder.name.clone()),
        holder_mac: of_vlan.as_ref().and_then(|holder| holder.mac),
        ports,
    })
}

/// The bridge's end of the pair whose other end has a VLAN's gateway.
fn gateway_port(
    netlink: &mut Netlink,
    holder: &LinkInfo,
    native: Option<u16>,
) -> Result<Option<Port>, CniError> {
    let Some(index) = holder.peer_index() else {
        return Ok(None);
    };
    let port = netlink.link_by_index(index)?;
    Ok(port.map(|port| Port {
        name: port.name,
        vlans: native
            .map(|vid| Vlan { vid, native: true })
            .into_iter()
            .collect(),
        ..Port::default()
    }))
}

fn of_entry(entry: &tweed_netlink::VlanEntry) -> Vlan {
    Vlan {
        vid: entry.vid,
        native: entry.pvid,
    }
}
