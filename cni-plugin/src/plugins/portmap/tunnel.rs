//! The ports by which nodes send each other the pods' packets. A host port of the same number would lead them all to
//! one container, and the node would lose its peers.

use std::collections::BTreeMap;

use tweed_attach::Publication;
use tweed_netlink::{LinkInfo, Netlink};
use tweed_nft::ruleset::L4Proto;

use crate::spec::{CniError, Context, Kind};

/// The device of flannel's backend `udp` and of ours, and the port that it has unless `Backend.Port` is set: no
/// kernel object has it.
const UDP_DEVICE: (&str, u16) = ("flannel0", 8285);

/// Refuses host ports that are a tunnel's.
///
/// # Errors
/// For the first that is one, by the name of the tunnel's device.
pub(super) fn refuse(netlink: &mut Netlink, publication: &Publication) -> Result<(), CniError> {
    let udp = publication.ports.iter();
    let udp = udp.filter(|port| port.protocol == L4Proto::Udp);
    // No tunnel ends at 127.0.0.1.
    let udp = udp.filter(|port| port.host_addr.is_none_or(|addr| !addr.is_loopback()));
    let wanted: Vec<u16> = udp.map(|port| port.host_port).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let links = netlink.links().context(|| "look for tunnels")?;
    let tunnels: BTreeMap<u16, String> = links.into_iter().filter_map(tunnel).collect();
    let mut taken = wanted
        .iter()
        .filter_map(|port| Some((port, tunnels.get(port)?)));
    let Some((port, device)) = taken.next() else {
        return Ok(());
    };
    let msg = format!("host port udp {port} is the port of the tunnel {device}");
    Err(CniError::new(Kind::Conflict, msg).details(
        "other nodes' packets would go to this container instead of the tunnel; choose another host port",
    ))
}

/// The port of a tunnel between nodes, and its device.
fn tunnel(link: LinkInfo) -> Option<(u16, String)> {
    let (name, port) = UDP_DEVICE;
    let port = match link.vxlan {
        Some(vxlan) => vxlan.port,
        None if link.kind == "tun" && link.name == name => port,
        None => return None,
    };
    Some((port, link.name))
}
