//! The connectivity test: responders on all nodes probe each other, and what is broken is said in words.
//!
//! A responder (`serve`) answers probes and, when it is told to, probes the other responders. `run` tells all of them at
//! once, so that the whole matrix is measured and not one row of it, and gathers what they saw. What to probe (`plan`),
//! what the results mean (`judge`) and how they read (`report`) is pure.
//!
//! Against misuse: a client of a responder must know the content of a file that all of them share
//! (`key`), the only addresses it connects to are asked on its own port, where another responder has to know that
//! content too, and an answer to a datagram is never larger than the datagram. It sends to nobody else but the resolvers
//! of its own `resolv.conf`.

#![expect(
    unreachable_pub,
    reason = "the modules are private; what leaves the crate is re-exported here"
)]

mod connections;
mod discover;
mod dns;
mod judge;
mod key;
mod plan;
mod probe;
mod protocol;
mod rate;
mod report;
mod run;
mod serve;
mod socket;
mod udp;
mod wire;
mod words;

pub use connections::{Busy, Connections};
pub use discover::in_cluster;
pub use key::Key;
pub use plan::{Cluster, Endpoint, Side};
pub use rate::{Carried, carry};
pub use report::PathReport;
pub use run::survey;
pub use serve::{ServeOptions, serve};

/// The port of responders, TCP and UDP, where no other one is asked for.
pub const PORT: u16 = 8479;
