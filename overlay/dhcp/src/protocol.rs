//! What plugin and daemon say to each other over the socket: one line of JSON each way. Pure.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::key::Key;
use crate::lease::{Lease, Route};
use crate::message::Options;

/// Where the daemon listens.
pub const SOCKET: &str = "/run/cni/dhcp.sock";
/// The longest line, in bytes. A list of 10,000 valid attachments has one megabyte.
pub const LONGEST: usize = 8 << 20;
/// How a client of Go's daemon begins.
pub const GO_REQUEST: &[u8] = b"CONNECT ";
/// How Go's daemon answers what is no HTTP.
pub const GO_REPLY: &str = "HTTP/";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Get a lease, or the one that is there.
    Add(Add),
    /// Give it back.
    Del {
        key: Key,
    },
    /// Whether it is held.
    Check {
        key: Key,
    },
    /// Give back those of a network that are of none of these containers and interfaces.
    Gc {
        network: String,
        valid: Vec<(String, String)>,
    },
    Status,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    pub key: Key,
    pub netns: PathBuf,
    /// Options to ask for.
    pub request: Vec<u8>,
    /// Options to send.
    pub provide: Options,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    Lease(Granted),
    Done,
    /// What failed, and what to do.
    Error(String),
}

/// What of a lease is for the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    pub address: ipnet::Ipv4Net,
    pub gateway: Option<Ipv4Addr>,
    pub routes: Vec<Route>,
    pub name_servers: Vec<Ipv4Addr>,
    pub domain: String,
}

impl From<&Lease> for Granted {
    fn from(lease: &Lease) -> Self {
        Self {
            address: lease.address,
            gateway: lease.gateway,
            routes: lease.routes.clone(),
            name_servers: lease.name_servers.clone(),
            domain: lease.domain.clone(),
        }
    }
}
