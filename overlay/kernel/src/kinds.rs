//! The kinds of devices that we make: a file each, with how one is read and how it is made. All else is the same for
//! them.

pub(crate) mod bridge;
pub(crate) mod gateway;
mod holder;
pub(crate) mod pair;
pub(crate) mod pod_route;
pub(crate) mod port;
mod refusal;
mod tun;
mod vxlan;

use std::io;

use tweed_host::KernelError;
use tweed_netlink::LinkInfo;
use tweed_netlink::route_messages::link::InfoKind;
use tweed_state::{Link, LinkKind};

use super::linux::Linux;

/// What the kernel calls them.
pub(super) const NAMES: [InfoKind; 2] = [InfoKind::Vxlan, InfoKind::Tun];

/// The kind of a device as the plan sees it. One that does more than ours do counts as another, so that it gets replaced
/// where one of ours should be.
pub(super) fn read(info: &LinkInfo, underlay: String) -> LinkKind {
    let ours = vxlan::read(info, underlay).or_else(|| tun::read(info));
    ours.unwrap_or_else(|| LinkKind::Other(info.kind.clone()))
}

/// The interface that carries what a device sends, by index; 0 if it doesn't say.
pub(super) fn underlay(info: &LinkInfo) -> u32 {
    info.vxlan.as_ref().map_or(0, |vxlan| vxlan.link)
}

/// Makes a device. One that is there already and can be brought into form is left as it is.
pub(super) fn make(
    linux: &mut Linux,
    what: &str,
    name: &str,
    link: &Link,
) -> Result<(), KernelError> {
    let refused = |source| KernelError {
        what: what.to_owned(),
        source,
    };
    match &link.kind {
        LinkKind::Vxlan(vxlan) => vxlan::make(linux, what, name, link, vxlan),
        LinkKind::Tun { queues } => tun::create(name, *queues).map_err(refused),
        LinkKind::Other(_) => {
            let why = "only VXLAN and TUN devices can be made";
            Err(refused(io::Error::new(io::ErrorKind::Unsupported, why)))
        }
    }
}

/// The queue length in packets that a device should have instead, if another.
pub(super) fn queue_length(link: &Link, length: u32) -> Option<u32> {
    match link.kind {
        LinkKind::Tun { .. } => tun::queue_length(length),
        _ => None,
    }
}

/// What is in the way where a device can't be made or brought up, in words.
pub(super) fn obstacle(
    linux: &mut Linux,
    name: &str,
    link: &Link,
    error: &io::Error,
) -> Option<String> {
    let taken = holder::of_name(&mut linux.netlink, name, &link.kind);
    taken.or_else(|| match &link.kind {
        LinkKind::Vxlan(vxlan) => vxlan::obstacle(linux, name, vxlan, error),
        _ => None,
    })
}
