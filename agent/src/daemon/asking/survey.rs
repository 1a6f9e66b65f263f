//! Facts of this host that decide what it announces: read at once, by the kernel thread.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_backend::Backends;
use tweed_kernel::used_bridges;
use tweed_model::{Dual, Family, Mac, Pool};
use tweed_netlink::Netlink;

use crate::daemon::inhabited::subnets;
use crate::daemon::readings::Reader;
use crate::host::facts::{self, HostFacts};
use crate::host::uplink::{self, Choice, Wanted};

/// Subnets with pods, and MACs of the VTEPs.
pub(super) struct Survey {
    pub(super) choice: Choice,
    pub(super) found: HostFacts,
    /// On which subnets pods sit.
    pub(super) inhabited: Dual<IpNet>,
    /// The MACs of the VTEPs that are there.
    pub(super) macs: Dual<Mac>,
}

impl Survey {
    /// Has the kernel thread read all of it.
    ///
    /// # Errors
    /// Why this node can't be a part of the network now.
    pub(super) async fn make(
        reader: &Reader,
        wanted: &Wanted,
        servers: &BTreeSet<IpAddr>,
        pools: &Dual<Pool>,
        backends: &Backends,
    ) -> Result<Self, String> {
        let (wanted, servers, pools) = (wanted.clone(), servers.clone(), pools.clone());
        let backends = backends.clone();
        let read = move || Self::read(&wanted, &servers, &pools, &backends);
        reader.wait_for(read).await?
    }

    /// Reads all of it on the calling thread.
    ///
    /// # Errors
    /// As [`Survey::make`].
    pub(super) fn read(
        wanted: &Wanted,
        servers: &BTreeSet<IpAddr>,
        pools: &Dual<Pool>,
        backends: &Backends,
    ) -> Result<Self, String> {
        let vteps = Dual {
            v4: vtep(backends, Family::V4),
            v6: vtep(backends, Family::V6),
        };
        let choice = uplink::choose(wanted).map_err(|error| format!("uplink: {error:#}"))?;
        let found = facts::read(&wanted.overlay, servers)
            .map_err(|error| format!("the host's addresses: {error:#}"))?;
        Ok(Self {
            choice,
            found,
            // Where the bridges can't be read it is as on a host without pods.
            inhabited: subnets(pools, &used_bridges().unwrap_or_default()),
            macs: vteps.filter_map(|_, name| device_mac(name)),
        })
    }
}

fn vtep(backends: &Backends, family: Family) -> Option<String> {
    let mut backends = backends.all();
    backends.find_map(|backend| backend.vteps.get(family).cloned())
}

fn device_mac(name: &str) -> Option<Mac> {
    let link = Netlink::open().ok()?.link(name).ok()??;
    link.mac.filter(Mac::is_unicast)
}
