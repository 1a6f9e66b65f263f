//! Interfaces that lie on another one (macvlan, ipvlan, VLAN), and one that lies on nothing (dummy).

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanMode, LinkMessage, MacVlanMode,
};
use rtnetlink::{LinkDummy, LinkMessageBuilder, LinkUnspec};
use tweed_model::Mac;

use super::Netlink;
use super::attributes::{attribute, number, short};
use super::error::NetlinkError;

/// How an interface lies on another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacked {
    /// With an Ethernet address of its own.
    MacVlan {
        /// Which of the interfaces on the same one it exchanges frames with.
        mode: MacVlanMode,
        /// Length of the queue of broadcasts and multicasts in frames; the kernel's default (1000) if none. The one in use
        /// is the largest that any macvlan on the same interface asks for.
        queue: Option<u32>,
    },
    /// With the Ethernet address of the other one.
    IpVlan(IpVlanMode),
    /// For the frames of one VLAN.
    Vlan(u16),
}

/// An interface on another one to create.
#[derive(Clone, Debug)]
pub struct StackedSpec<'a> {
    pub name: &'a str,
    /// Index of the interface that it lies on, in the socket's namespace.
    pub parent: u32,
    pub kind: Stacked,
    /// Ethernet address; the kernel's choice if none.
    pub mac: Option<Mac>,
    /// MTU in bytes; that of the other one if none.
    pub mtu: Option<u32>,
    /// The namespace to create it in; the socket's own if none.
    pub netns: Option<BorrowedFd<'a>>,
}

impl Stacked {
    /// The kernel's name of the kind.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MacVlan { .. } => "macvlan",
            Self::IpVlan(_) => "ipvlan",
            Self::Vlan(_) => "vlan",
        }
    }

    fn info(self) -> (InfoKind, InfoData) {
        match self {
            Self::MacVlan { mode, queue } => {
                let queue = queue.map(InfoMacVlan::BcQueueLen);
                let data = [InfoMacVlan::Mode(mode)].into_iter().chain(queue);
                (InfoKind::MacVlan, InfoData::MacVlan(data.collect()))
            }
            Self::IpVlan(mode) => {
                let data = vec![InfoIpVlan::Mode(mode)];
                (InfoKind::IpVlan, InfoData::IpVlan(data))
            }
            Self::Vlan(id) => (InfoKind::Vlan, InfoData::Vlan(vec![InfoVlan::Id(id)])),
        }
    }
}

impl StackedSpec<'_> {
    fn message(&self) -> LinkMessage {
        let (kind, data) = self.kind.info();
        let mut link = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind)
            .set_info_data(data)
            .name(self.name)
            .link(self.parent);
        if let Some(mac) = self.mac {
            link = link.address(mac.0.to_vec());
        }
        if let Some(mtu) = self.mtu {
            link = link.mtu(mtu);
        }
        if let Some(netns) = self.netns {
            link = link.setns_by_fd(netns.as_raw_fd());
        }
        link.build()
    }
}

impl Netlink {
    /// Creates an interface on another one, down.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken (by older kernels also in the socket's namespace), or the VLAN is.
    pub fn add_stacked(&mut self, spec: &StackedSpec<'_>) -> Result<(), NetlinkError> {
        let what = format_args!("add {} {}", spec.kind.name(), spec.name);
        self.add_link(what, spec.message())
    }

    /// Creates a dummy interface, down.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken.
    pub fn add_dummy(&mut self, name: &str) -> Result<(), NetlinkError> {
        self.add_link(
            format_args!("add dummy {name}"),
            LinkDummy::new(name).build(),
        )
    }
}

/// Reads how an interface of a kind lies on another one, from what the kind says of it.
pub(super) fn stacked(kind: &str, data: &[u8]) -> Option<Stacked> {
    /// `IFLA_MACVLAN_MODE`, `IFLA_IPVLAN_MODE` or `IFLA_VLAN_ID`.
    const FIRST: u16 = 1;
    /// `IFLA_MACVLAN_BC_QUEUE_LEN`.
    const QUEUE: u16 = 7;
    let first = attribute(data, FIRST)?;
    match kind {
        "macvlan" => Some(Stacked::MacVlan {
            mode: number(first)?.into(),
            queue: attribute(data, QUEUE).and_then(number),
        }),
        "ipvlan" => Some(Stacked::IpVlan(short(first)?.into())),
        "vlan" => short(first).map(Stacked::Vlan),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::info::link_info_of;

    /// Not every kernel has these kinds, so that what is sent is read back.
    #[test]
    fn what_is_asked_for_is_what_is_read() {
        let macvlan = |queue| Stacked::MacVlan {
            mode: MacVlanMode::Vepa,
            queue,
        };
        for kind in [
            macvlan(None),
            macvlan(Some(500)),
            Stacked::IpVlan(IpVlanMode::L3S),
            Stacked::Vlan(4094),
        ] {
            let spec = StackedSpec {
                name: "eth0",
                parent: 7,
                kind,
                mac: Some(Mac([2, 0, 0, 0, 0, 1])),
                mtu: Some(1400),
                netns: None,
            };
            let read = link_info_of(&spec.message()).unwrap();
            assert_eq!(
                (read.kind.as_str(), read.stacked),
                (kind.name(), Some(kind))
            );
            assert_eq!((read.link, read.mac, read.mtu), (Some(7), spec.mac, 1400));
        }
    }
}
