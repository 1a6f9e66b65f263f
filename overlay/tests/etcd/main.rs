//! The etcd store against a real etcd.
#![cfg(feature = "etcd")]

mod acquire;
mod follow;
mod keep;
mod reach;
mod scene;
mod server;
