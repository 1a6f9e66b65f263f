//! The stores against what they stand on: a real etcd, a real folder, an API server of our own; and what holds for each.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;
mod etcd;
mod file;
mod kube;
mod memory;
mod nodes;
