//! Thin blocking layer over rtnetlink messages, shared by the agent and the plugin.
//!
//! One socket, one request at a time; verbs are methods of [`Netlink`], split over files by kernel object. Errors name
//! the operation and carry the kernel's own words. Message types and builders come from `rtnetlink` and are
//! re-exported, for the request that no verb covers: see [`Netlink::change`].

mod addr;
mod attributes;
mod bridge;
mod client;
mod error;
mod ethtool;
mod group;
mod info;
#[cfg(any(test, feature = "test-util"))]
pub mod lab;
mod link;
mod neigh;
mod netfilter;
pub mod netns;
mod nexthop;
mod notified;
mod port;
mod raw;
mod route;
mod route_info;
mod rule;
mod stacked;
mod tap;
mod tc;
mod transport;
mod wire;

pub use addr::{AddrInfo, AddrSpec};
pub use attributes::{Attributes, attribute, attributes};
pub use bridge::{BridgeSpec, PortChange, VlanEntry};
pub use client::{Dev, Netlink};
pub use error::{NetlinkError, Object};
pub use ethtool::{Ethtool, TX_CHECKSUM};
pub use info::{BridgeInfo, LinkInfo, OperState, PortInfo, VxlanInfo};
pub use link::{LinkChange, VethEnd, VethSpec, VxlanSpec};
pub use neigh::{FdbInfo, NeighInfo};
pub use netfilter::{BatchError, Netfilter};
pub use netlink_packet_core as core;
pub use netlink_packet_route as route_messages;
pub use netlink_packet_route::link::{IpVlanMode, MacVlanMode};
pub use nexthop::{DEL_NEXTHOP, NEW_NEXTHOP, NextHopInfo, NextHopSpec};
pub use port::{PortNotice, port_notice};
pub use route::{RouteFilter, RouteSpec, TABLE_MAIN};
pub use rule::{SourceRule, WholeRoute};
pub use stacked::{Stacked, StackedSpec};
pub use tap::{TapSpec, add_tap, open_tap};
pub use tc::{Incoming, TokenBucket};
pub use transport::Transport;

pub use addr::addr_info;
pub use info::{link_info, link_info_of};
pub use neigh::{DEL_NEIGH, NEW_NEIGH, fdb_info, is_forwarding, neigh_info};
pub use nexthop::nexthop_info;
pub use notified::link_or_address;
pub use route_info::{DEL_ROUTE, NEW_ROUTE, RouteInfo, RouteKind, route_info};
pub use wire::{Answer, Frames};
