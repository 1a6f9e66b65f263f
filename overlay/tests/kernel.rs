//! Tests on the real kernel, each in a network namespace of its own. They need root.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

#[path = "kernel/netlink.rs"]
mod netlink;
#[path = "kernel/shell.rs"]
mod shell;
