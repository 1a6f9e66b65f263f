//! The TUN/UDP data plane: plain IP packets in UDP datagrams, as flannel's `udp` backend sends them. Everything here is
//! pure: packets are bytes of the caller's buffers, time is an argument, and what may happen is a value.
//!
//! From the device to a peer: [`virtio`] says what the kernel left undone, [`decide`] where the packet goes by the
//! [`table`], [`split`] and [`fragment`] cut it to the wire's size. From a peer to the device: [`decide`] again, then
//! [`coalesce`]. [`icmp`] tells senders why not, as often as [`limit`] allows.

#[cfg(test)]
mod arbitrary;
pub mod checksum;
pub mod coalesce;
pub mod decide;
pub mod fragment;
pub mod icmp;
pub mod limit;
pub mod packet;
pub mod reason;
pub mod scope;
pub mod segment;
pub mod split;
pub mod table;
pub mod virtio;
#[cfg(test)]
mod wire;
