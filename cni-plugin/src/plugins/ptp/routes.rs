//! The routes of a pair without a bridge, on both of its ends.

use std::net::IpAddr;

use ipnet::IpNet;
use tweed_attach::Owner;
use tweed_model::Family;
use tweed_netlink::{
    AddrSpec, Dev, LinkChange, LinkInfo, Netlink, NetlinkError, RouteFilter, RouteSpec, TABLE_MAIN,
};

use crate::net::sysctl::{of_interface, set_if_there};
use crate::spec::{CniError, Context, IpConfig};

/// The kernel's numbers for routes to what is on the link, and on this host.
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;

/// An address of the container, and the gateway by which it reaches everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) address: IpNet,
    pub(super) gateway: IpAddr,
}

impl Hop {
    /// The gateway's address as the host's end has it.
    pub(super) fn gateway_net(&self) -> IpNet {
        self.gateway.into()
    }

    /// The container's address alone.
    pub(super) fn host_net(&self) -> IpNet {
        self.address.addr().into()
    }
}

/// The hops of a result's addresses.
///
/// # Errors
/// When an address has no gateway of its own family.
pub(super) fn hops<'a>(ips: impl Iterator<Item = &'a IpConfig>) -> Result<Vec<Hop>, CniError> {
    let hop = |ip: &IpConfig| {
        let address = ip.address;
        let family = Family::of_net(&address);
        let gateway = ip.gateway.filter(|gateway| Family::of(gateway) == family);
        let gateway = gateway.ok_or_else(|| {
            CniError::failed(format!("the IPAM plugin gives no gateway for {address}"))
                .details("ptp puts the gateway's address on the host's end of the pair: set `gateway` in ipam")
        })?;
        Ok(Hop { address, gateway })
    };
    ips.map(hop).collect()
}

/// Names the owner on the host's end, brings it up, and gives it the gateways' addresses and the routes to the
/// container.
pub(super) fn set_host_end(
    netlink: &mut Netlink,
    end: Dev<'_>,
    owner: &Owner,
    hops: &[Hop],
) -> Result<(), CniError> {
    set_if_there(&of_interface(Family::V6, end.name, "accept_ra"), "0");
    let alias = owner.to_string();
    let change = LinkChange {
        alias: Some(&alias),
        up: Some(true),
        ..LinkChange::default()
    };
    netlink.set_link(end, &change)?;
    for hop in hops {
        let gateway = AddrSpec::plain(hop.gateway_net());
        unless_there(netlink.add_addr(end, &gateway))
            .context(|| "failed to give the host's end the gateway's address")?;
        let route = RouteSpec {
            scope: SCOPE_HOST,
            ..RouteSpec::to(hop.host_net()).dev(end)
        };
        // One that leads to a pod that is gone is replaced: the address is this pod's now.
        netlink
            .put_route(&route)
            .context(|| "failed to add route on host")?;
    }
    Ok(())
}

/// Has the container send everything by its gateways, also what is in its own subnet: there is nobody else on the link.
pub(super) fn lead_by_gateways(
    inside: &mut Netlink,
    end: &LinkInfo,
    hops: &[Hop],
) -> Result<(), CniError> {
    for Hop { address, gateway } in hops {
        let subnet = address.trunc();
        let alone = address.prefix_len() == address.max_prefix_len();
        // The kernel's own, whose protocol is not ours.
        let connected = RouteSpec {
            protocol: 0,
            ..RouteSpec::to(subnet).dev(end.dev())
        };
        match inside.del_route(&connected) {
            Err(error) if !error.is_not_found() => {
                return Err(CniError::from(error).context("failed to delete route"));
            }
            _ => {}
        }
        let source = Some(address.addr());
        let to_gateway = RouteSpec {
            scope: if gateway.is_ipv4() { SCOPE_LINK } else { 0 },
            src: source,
            ..RouteSpec::to((*gateway).into()).dev(end.dev())
        };
        unless_there(inside.add_route(&to_gateway)).context(|| "failed to add route")?;
        if !alone {
            let to_subnet = RouteSpec {
                src: source,
                ..RouteSpec::to(subnet).dev(end.dev()).via(*gateway)
            };
            unless_there(inside.add_route(&to_subnet)).context(|| "failed to add route")?;
        }
    }
    Ok(())
}

/// Checks the host's end: its addresses, and the routes to the container.
pub(super) fn check_host_end(
    netlink: &mut Netlink,
    end: &LinkInfo,
    hops: &[Hop],
) -> Result<(), CniError> {
    let addrs = netlink.addrs(Some(end.index))?;
    for hop in hops {
        let (name, gateway) = (&end.name, hop.gateway_net());
        if !addrs.iter().any(|addr| addr.net == gateway) {
            let msg = format!("{name} does not have the gateway's address {gateway}");
            return Err(CniError::drift(msg));
        }
        let filter = RouteFilter {
            family: Family::of_net(&gateway),
            table: Some(TABLE_MAIN),
        };
        let wanted = hop.host_net();
        let routes = netlink.routes(&filter)?;
        let leads =
            |route: &tweed_netlink::RouteInfo| route.dst == wanted && route.oif == Some(end.index);
        if !routes.iter().any(leads) {
            let msg = format!("Expected Route {wanted} dev {name} not found on the host");
            return Err(CniError::drift(msg));
        }
    }
    Ok(())
}

/// Two addresses may share a gateway.
fn unless_there(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is_exists() => Ok(()),
        other => other,
    }
}
