//! The network configuration: flannel's `net-conf.json`, or the etcd key `config`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::Dual;

/// Where the subnets of one family come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The pod network.
    pub network: IpNet,
    /// Prefix length of one node's subnet.
    pub subnet_len: u8,
    /// Base address of the first subnet that may be leased.
    pub min: IpAddr,
    /// Base address of the last one.
    pub max: IpAddr,
}

/// A validated network configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The enabled families and their pools.
    pub pools: Dual<Pool>,
    /// The backend's name in lower case; `udp` where the configuration names none.
    pub backend_type: String,
    /// The `Backend` object, keys as written; the backend looks them up without regard to case.
    pub backend: Map<String, Value>,
    /// `EnableNFTables`. Tweed always uses nftables; kept so that the document survives a round trip.
    pub enable_nftables: bool,
}

/// Why a configuration is refused. The message names the key, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network configuration: {0}")]
pub struct ConfigError(pub String);
