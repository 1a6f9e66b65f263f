//! The TUN/UDP data plane: plain IP packets in UDP datagrams, as flannel's `udp` backend sends them. All that is
//! decided and computed is pure: packets are bytes of the caller's buffers, time is an argument, and what may happen is
//! a value.
//!
//! From the device to a peer: [`virtio`] says what the kernel left undone, [`decide`] where the packet goes by the
//! [`table`], [`split`] and [`fragment`] cut it to the wire's size, [`gather`] makes
//! messages of it. From a peer to the device: [`decide`] again, then
//! [`coalesce`]. [`icmp`] tells senders why not, as often as [`limit`] allows. [`trial`] finds out whether what is sent
//! several at once gets there, [`claim`] whether a path is as narrow as is said.
//!
//! The shell around it is thin: the crate `tweed-dataplane` has the device, the sockets, and the workers that carry packets
//! between them.

#[cfg(test)]
mod arbitrary;
pub mod checksum;
pub mod claim;
pub mod coalesce;
pub mod counters;
pub mod decide;
pub mod forwarding;
pub mod fragment;
pub mod gather;
mod header;
pub mod icmp;
pub mod limit;
pub mod offloads;
pub mod options;
pub mod packet;
pub mod path_mtu;
pub mod peers;
pub mod polling;
pub mod reason;
pub mod scope;
pub mod segment;
#[cfg(any(test, feature = "test-util"))]
pub mod slow;
pub mod split;
pub mod table;
pub mod trace;
pub mod trial;
pub mod virtio;
#[cfg(test)]
mod wire;
