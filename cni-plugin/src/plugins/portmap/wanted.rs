//! The wanted host ports of a container: its mappings, and the first address of each family of its interface.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use tweed_attach::Publication;
use tweed_model::Dual;

use super::config::PortmapConfig;
use crate::spec::{Call, CniError, CniResult};

/// The mappings, and where they lead; `None` if the interface has no address.
///
/// # Errors
/// When an address can't be a container's, or two mappings want the same port.
pub(super) fn wanted(
    call: &Call,
    config: PortmapConfig,
    result: &CniResult,
) -> Result<Option<Publication>, CniError> {
    let ifname = &call.attachment.ifname;
    let mut first: Dual<IpNet> = Dual::default();
    for ip in result.addresses_of(ifname) {
        let slot = match ip.address {
            IpNet::V4(_) => &mut first.v4,
            IpNet::V6(_) => &mut first.v6,
        };
        slot.get_or_insert(ip.address);
    }
    let addresses: Vec<IpNet> = first.values().copied().collect();
    if addresses.is_empty() {
        return Ok(None);
    }
    if let Some(wrong) = addresses.iter().find(|net| !is_of_one_host(net.addr())) {
        let msg = format!("prevResult gives {ifname} the address {wrong}, which no host can have");
        return Err(CniError::config(msg).details("host ports can't lead there"));
    }
    let publication = Publication {
        addresses,
        ports: config.ports,
        masquerade: config.masquerade,
        conditions: config.conditions,
        host_address: None,
    };
    publication.claims().map_err(CniError::config)?;
    Ok(Some(publication))
}

fn is_of_one_host(addr: IpAddr) -> bool {
    !addr.is_unspecified()
        && !addr.is_multicast()
        && !addr.is_loopback()
        && addr != IpAddr::V4(Ipv4Addr::BROADCAST)
}
