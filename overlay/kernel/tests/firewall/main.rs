//! The firewall on the real kernel, in network namespaces of the tests' own. Needs root, `nft`, `iptables` and `ip`.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

mod attachment;
mod bridged;
mod discarded;
mod drift;
mod forward;
mod forwarded;
mod hostport;
mod hostport_keys;
mod input;
mod lab;
mod made_up;
mod made_up_sets;
mod random;
mod remembered;
mod routed;
mod sources;
mod traffic;
mod vlans;
