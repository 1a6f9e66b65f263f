//! TLS towards the stores, as Go's programs take it: what etcdctl and kubectl can use works here, and what can't be used
//! is refused with the file, the reason and the remedy.
//!
//! Beside what rustls does by itself: a server certificate that stands in the CA file is trusted, client certificates of
//! X.509 version 1 are sent, and ECDSA keys on P-521 are used.

mod certificate;
mod config;
mod connector;
mod explain;
mod identity;
mod material;
mod p521;
mod verify;

pub(super) use self::connector::connector;
pub(super) use self::explain::{Fault, Names, fault};
pub(super) use self::material::{Material, Pem};

#[cfg(test)]
mod tests;
