//! When a host port begins or ends to lead to a container, UDP flows that go elsewhere are forgotten, or they would go on
//! as before. TCP needs none of this: a connection without its other end is reset.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::Netfilter;
use tweed_nft::live::conntrack::{Flow, delete, flows};
use tweed_nft::ruleset::L4Proto;

use crate::Publication;

/// Forgets the UDP flows to these host ports that go past the container. `local` are the host's addresses: a port of
/// all addresses is none of anybody else's.
///
/// # Errors
/// When the kernel refuses, or has no interface to its connection tracking.
pub fn forget_flows_past(
    socket: &mut Netfilter,
    publication: &Publication,
    local: &BTreeSet<IpAddr>,
) -> Result<usize, KernelError> {
    forget(socket, publication, |host_addr, flow, target| {
        let dest = flow.dest.ip();
        let is_meant = match host_addr {
            Some(addr) => addr == dest,
            None => dest.is_loopback() || local.contains(&dest),
        };
        is_meant && flow.answers_from != target
    })
}

/// Forgets the UDP flows that come by these host ports and go to the container, which is about to end.
///
/// # Errors
/// As [`forget_flows_past`].
pub fn forget_flows_to(
    socket: &mut Netfilter,
    publication: &Publication,
) -> Result<usize, KernelError> {
    forget(socket, publication, |_, flow, target| {
        flow.answers_from == target
    })
}

/// Forgets those of the flows to the publication's UDP ports that are unwanted. Returns how many.
fn forget(
    socket: &mut Netfilter,
    publication: &Publication,
    unwanted: impl Fn(Option<IpAddr>, &Flow, SocketAddr) -> bool,
) -> Result<usize, KernelError> {
    let claims = publication.claims().unwrap_or_default();
    let mut forgotten = 0;
    for family in Family::BOTH {
        let udp: Vec<_> = claims
            .iter()
            .filter(|(claim, _)| claim.family == family && claim.protocol == L4Proto::Udp)
            .map(|(claim, (address, port))| (claim, SocketAddr::new(address.addr(), *port)))
            .collect();
        let only = match &udp[..] {
            [] => continue,
            [(claim, _)] => Some(claim.host_port),
            _ => None,
        };
        for flow in flows(socket, family, only)? {
            let of_port = udp
                .iter()
                .filter(|(claim, _)| claim.host_port == flow.dest.port());
            let mut of_port = of_port.map(|(claim, target)| (claim.host_addr, *target));
            if of_port.any(|(host_addr, target)| unwanted(host_addr, &flow, target)) {
                forgotten += usize::from(delete(socket, family, flow)?);
            }
        }
    }
    Ok(forgotten)
}
