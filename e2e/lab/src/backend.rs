//! The backends in the terms of scenarios: configuration, overhead and kernel objects of each. A scenario that holds for
//! every backend is written once and run for each of these.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tweed_model::Family;

use crate::agent::Agent;
use crate::fault::Peer;
use crate::flannel::Node;
use crate::launch::config;
use crate::observe;
use crate::topology::{Host, UPLINK};

/// One backend.
#[derive(Clone, Copy, Debug)]
pub struct Backend {
    /// `Backend` of the network configuration.
    options: &'static str,
    /// Attributes of its leases beside the address.
    lease: &'static str,
    /// Bytes that it adds to pods' packets of IPv4 and IPv6.
    overhead: [u32; 2],
    /// Network devices: none, one for all packets, or one for each family.
    devices: &'static [&'static str],
    routing: Routing,
    /// How long packets may stop when the agent is restarted: not at all where the kernel carries them.
    pub pause: Duration,
}

/// Objects of the kernel that lead to the pods of another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Routing {
    /// A route, a neighbour and an FDB entry.
    Entries,
    /// A route by the other host.
    Gateway,
    /// A route over the device.
    Device,
}

/// Kernel VXLAN, one device for each family.
pub const VXLAN: Backend = Backend {
    options: r#"{ "Type": "vxlan" }"#,
    lease: r#"{ "BackendType": "vxlan", "BackendData": { "VNI": 1, "VtepMAC": "a2:00:00:00:01:fa" } }"#,
    overhead: [50, 70],
    devices: &["flannel.1", "flannel-v6.1"],
    routing: Routing::Entries,
    pause: Duration::ZERO,
};

/// VXLAN that needs no tunnel to neighbours, which all hosts of one segment are.
pub const DIRECT: Backend = Backend {
    options: r#"{ "Type": "vxlan", "DirectRouting": true }"#,
    routing: Routing::Gateway,
    ..VXLAN
};

/// Plain routes.
pub const HOST_GW: Backend = Backend {
    options: r#"{ "Type": "host-gw" }"#,
    lease: r#"{ "BackendType": "host-gw" }"#,
    overhead: [0, 0],
    devices: &[],
    routing: Routing::Gateway,
    pause: Duration::ZERO,
};

/// Datagrams that the agent carries, over IPv4 where there is IPv4.
pub const UDP: Backend = Backend {
    options: r#"{ "Type": "udp" }"#,
    lease: "{}",
    overhead: [28, 48],
    devices: &["flannel0"],
    routing: Routing::Device,
    pause: Duration::from_millis(500),
};

impl Backend {
    /// A network configuration that asks for it.
    pub fn config(&self, families: &[Family]) -> Value {
        let options = serde_json::from_str(self.options).expect("a row has JSON");
        config(families, &options)
    }

    /// Attributes of its leases beside the address.
    pub fn lease(&self) -> Value {
        serde_json::from_str(self.lease).expect("a row has JSON")
    }

    /// The value of the lease of a node that stands in the store alone.
    pub fn lease_of(&self, node: &Node) -> Value {
        let mut value = self.lease();
        value["PublicIP"] = serde_json::json!(node.public);
        value["PublicIPv6"] = Value::Null;
        value
    }

    /// Names of its network devices.
    pub fn devices(&self) -> &'static [&'static str] {
        self.devices
    }

    /// The device that carries packets of a family.
    pub fn device(&self, family: Family) -> Option<&'static str> {
        let index = usize::from(family == Family::V6);
        self.devices.get(index).or(self.devices.last()).copied()
    }

    /// Whether packets to neighbours go by no device of its own.
    pub fn is_direct(&self) -> bool {
        self.routing == Routing::Gateway
    }

    /// The MTU of pods with these families.
    pub fn pod_mtu(&self, uplink: u32, families: &[Family]) -> u32 {
        let overhead = families.iter().map(|family| self.overhead(*family));
        uplink - overhead.max().unwrap_or(0)
    }

    /// The MTU of the device that carries packets of a family, where pods have these.
    pub fn device_mtu(&self, uplink: u32, families: &[Family], family: Family) -> u32 {
        match self.devices.len() {
            1 => self.pod_mtu(uplink, families),
            _ => uplink - self.overhead(family),
        }
    }

    fn overhead(&self, family: Family) -> u32 {
        self.overhead[usize::from(family == Family::V6)]
    }

    /// Checks that a host has all that leads to the pods of another one.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn leads(&self, host: &Host, to: &Agent<'_>, family: Family) -> Result<()> {
        let subnet = to.subnet(family)?;
        let route = self.route(host, to, family)?;
        match self.routing {
            Routing::Entries => Peer::of(to.host(), subnet)?.is_programmed(host),
            Routing::Gateway => {
                let via = *to.host().addrs.get(family).context("both families")?;
                ensure!(
                    route.lines().count() == 1
                        && route.contains(&format!("via {via} dev {UPLINK}")),
                    "route to {subnet}: {route:?}, not by {via}"
                );
                Ok(())
            }
            Routing::Device => {
                let device = self.device(family).context("a device")?;
                ensure!(
                    route.contains(&format!(" dev {device} ")),
                    "way to {subnet}: {route:?}, not by {device}"
                );
                Ok(())
            }
        }
    }

    fn route(&self, host: &Host, to: &Agent<'_>, family: Family) -> Result<String> {
        let subnet = to.subnet(family)?;
        match self.routing {
            Routing::Device => host.sh(&format!("ip route get {}", subnet.broadcast())),
            Routing::Entries | Routing::Gateway => observe::routes(host, &subnet),
        }
    }

    /// The destination of the route that leads to a subnet of another host.
    pub fn destination(&self, subnet: &ipnet::IpNet) -> String {
        let family = Family::of_net(subnet);
        match (self.routing, family) {
            (Routing::Device, Family::V4) => crate::launch::NETWORK.to_owned(),
            (Routing::Device, Family::V6) => crate::launch::NETWORK_V6.to_owned(),
            _ => subnet.to_string(),
        }
    }

    /// Removes from a host what a reboot removes: devices and routes.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn wipe(&self, host: &Host) -> Result<()> {
        let links = host.sh("ip -o link show")?;
        let there = |device: &&str| links.contains(&format!(": {device}: "));
        for device in self.devices.iter().copied().filter(there) {
            host.sh(&format!("ip link del {device}"))?;
        }
        host.sh("ip nexthop flush proto 84")?;
        for flag in ["-4", "-6"] {
            host.sh(&format!("ip {flag} route flush proto 84"))?;
        }
        Ok(())
    }
}
