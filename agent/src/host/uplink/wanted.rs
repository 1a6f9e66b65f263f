//! Inputs of the choice of the uplink beside the host.

use std::net::IpAddr;

use tweed_model::Dual;

use super::address::Known;
use super::unfit::Overlay;
use crate::config::options::UplinkOptions;

/// Wishes, and known addresses.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The operator's wishes.
    pub options: UplinkOptions,
    /// The pod network. Nothing of it is ever the uplink; at least one family is enabled.
    pub overlay: Overlay,
    /// Earlier addresses of this node, and those of others.
    pub known: Known,
    /// Addresses that the store announces instead of this node's own.
    pub overwrites: Dual<IpAddr>,
}
