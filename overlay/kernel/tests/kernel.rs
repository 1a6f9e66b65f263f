//! Tests on the real kernel, each in a network namespace of its own. They need root.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

#[path = "kernel/apply.rs"]
mod apply;
#[path = "kernel/double.rs"]
mod double;
#[path = "kernel/host.rs"]
mod host;
#[path = "kernel/monitor.rs"]
mod monitor;
#[path = "kernel/netlink.rs"]
mod netlink;
#[path = "kernel/nexthops.rs"]
mod nexthops;
#[path = "kernel/observe.rs"]
mod observe;
#[path = "kernel/places.rs"]
mod places;
#[path = "kernel/scale.rs"]
mod scale;
#[path = "kernel/shell.rs"]
mod shell;
#[path = "kernel/tun.rs"]
mod tun;
#[path = "kernel/tx_checksum.rs"]
mod tx_checksum;
