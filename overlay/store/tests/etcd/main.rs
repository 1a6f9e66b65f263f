//! The etcd store against a real etcd.
#![cfg(feature = "etcd")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod acquire;
mod follow;
mod keep;
mod pki;
mod reach;
mod relay;
mod scene;
mod server;
mod silence;
mod stampede;
mod tls;
