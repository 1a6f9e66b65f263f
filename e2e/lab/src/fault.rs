//! Faults that other programs and people cause on a host: each is one command that breaks something of ours.

use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde_json::Value;
use tweed_model::Family;

use crate::observe;
use crate::topology::Host;

/// A VTEP as the kernel shows it.
#[derive(Clone, Debug)]
pub struct Vtep {
    /// Name of the device.
    pub dev: String,
    pub family: Family,
    /// Its Ethernet address.
    pub mac: String,
}

/// One peer as it should stand in the kernel of a host.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The peer's pod subnet.
    pub subnet: IpNet,
    /// MAC of its VTEP.
    pub mac: String,
    /// Its public address.
    pub public: IpAddr,
}

impl Vtep {
    /// The VTEP of one family on a host, VNI 1.
    ///
    /// # Errors
    /// When the device isn't there.
    pub fn of(host: &Host, family: Family) -> Result<Self> {
        let dev = match family {
            Family::V4 => "flannel.1",
            Family::V6 => "flannel-v6.1",
        };
        Ok(Self {
            dev: dev.to_owned(),
            family,
            mac: observe::mac(host, dev)?,
        })
    }
}

impl Peer {
    /// The peer that another host of the lab is, read from that host's own kernel.
    ///
    /// # Errors
    /// When that host has no VTEP yet.
    pub fn of(host: &Host, subnet: IpNet) -> Result<Self> {
        let family = Family::of_net(&subnet);
        Ok(Self {
            subnet,
            mac: Vtep::of(host, family)?.mac,
            public: *host.addrs.get(family).context("hosts have both families")?,
        })
    }

    /// Checks that route, neighbour and FDB entry of the peer are all there and right.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn is_programmed(&self, host: &Host) -> Result<()> {
        let vtep = Vtep::of(host, Family::of_net(&self.subnet))?;
        let (dev, gateway) = (&vtep.dev, self.subnet.network());
        let route = observe::routes(host, &self.subnet)?;
        anyhow::ensure!(
            route.contains(&format!("via {gateway} dev {dev} ")) && route.contains("onlink"),
            "route to {}: {route:?}",
            self.subnet
        );
        let neigh = host.sh(&format!("ip neigh show {gateway} dev {dev}"))?;
        anyhow::ensure!(
            neigh.contains(&format!("lladdr {} ", self.mac)) && neigh.contains("PERMANENT"),
            "neighbour {gateway}: {neigh:?}"
        );
        let fdb = host.sh(&format!("bridge fdb show dev {dev}"))?;
        let wanted = format!("{} dst {} self permanent", self.mac, self.public);
        anyhow::ensure!(
            fdb.lines().any(|line| line.trim() == wanted),
            "no {wanted:?} in FDB: {fdb:?}"
        );
        Ok(())
    }
}

/// A link's MTU.
///
/// # Errors
/// When it isn't there.
pub fn mtu(host: &Host, dev: &str) -> Result<u64> {
    observe::link(host, dev)?["mtu"]
        .as_u64()
        .context("a link has an MTU")
}

/// Whether a link is administratively up.
///
/// # Errors
/// When it isn't there.
pub fn is_up(host: &Host, dev: &str) -> Result<bool> {
    let link = observe::link(host, dev)?;
    let flags = link["flags"].as_array().context("a link has flags")?;
    Ok(flags.contains(&Value::from("UP")))
}
