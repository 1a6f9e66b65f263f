//! A host as flannel leaves it: device, addresses, entries, routes, `subnet.env` and lease, laid out by hand.

use std::fs;

use anyhow::{Context, Result};
use ipnet::Ipv4Net;
use serde_json::{Value, json};

use crate::cni::{GO_PLUGINS, Runtime};
use crate::etcd::{Etcd, PREFIX};
use crate::launch::NETWORK;
use crate::topology::{Host, UPLINK};

/// One node of a flannel cluster.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its pod subnet.
    pub subnet: Ipv4Net,
    /// Its public address.
    pub public: std::net::IpAddr,
    /// MAC of its VTEP.
    pub mac: String,
}

impl Node {
    /// The node that a host of the lab is: `10.244.<number>.0/24`.
    ///
    /// # Errors
    /// Never for hosts of a lab.
    pub fn of(host: &Host) -> Result<Self> {
        let number = host.index + 10;
        Ok(Self {
            subnet: format!("10.244.{number}.0/24").parse()?,
            public: host.v4(),
            mac: format!("a2:00:00:00:00:{number:02x}"),
        })
    }

    /// Its key in etcd, without the prefix.
    pub fn key(&self) -> String {
        self.subnet.to_string().replace('/', "-")
    }

    /// Its value in etcd.
    pub fn value(&self) -> Value {
        json!({
            "PublicIP": self.public,
            "PublicIPv6": null,
            "BackendType": "vxlan",
            "BackendData": { "VNI": 1, "VtepMAC": self.mac },
        })
    }

    /// Puts its lease into etcd, with a time to live.
    ///
    /// # Errors
    /// When etcd refuses.
    pub fn announce(&self, etcd: &Etcd<'_>) -> Result<()> {
        let grant = etcd.ctl(&["lease", "grant", "86400"])?;
        let lease = grant.split(' ').nth(1).context("no lease granted")?;
        let key = format!("{PREFIX}/subnets/{}", self.key());
        let option = format!("--lease={lease}");
        etcd.ctl(&["put", &option, "--", &key, &self.value().to_string()])
            .map(drop)
    }

    /// How pods are attached here by the Go plugins, with the configuration that the flannel plugin hands them.
    pub fn go_plugins(&self) -> Runtime {
        let mut runtime = Runtime::single(json!({
            "type": "bridge",
            "bridge": "cni0",
            "mtu": 1450,
            "isGateway": true,
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{ "subnet": self.subnet }]],
                "routes": [{ "dst": NETWORK }],
            },
        }));
        runtime.path = vec![GO_PLUGINS.to_owned()];
        runtime
    }

    /// Lays out what flanneld has programmed on this node's host for these peers.
    ///
    /// # Errors
    /// When `ip` or `bridge` refuses.
    pub fn lay_out(&self, host: &Host, peers: &[Self]) -> Result<()> {
        let (base, mac) = (self.subnet.network(), &self.mac);
        let mut links = format!(
            "link add flannel.1 address {mac} txqueuelen 0 mtu 1450 type vxlan id 1 local {} dev {UPLINK} dstport 8472 nolearning\n\
             addr add {base}/32 dev flannel.1\n\
             link set flannel.1 up\n",
            self.public
        );
        let mut entries = String::new();
        for peer in peers {
            let base = peer.subnet.network();
            links += &format!(
                "neigh replace {base} dev flannel.1 lladdr {} nud permanent\n\
                 route replace {} via {base} dev flannel.1 onlink proto boot\n",
                peer.mac, peer.subnet
            );
            entries += &format!(
                "fdb replace {} dev flannel.1 dst {} self permanent\n",
                peer.mac, peer.public
            );
        }
        batch(host, "ip", &links)?;
        batch(host, "bridge", &entries)?;
        let folder = host.path("/run/flannel");
        fs::create_dir_all(&folder)?;
        let first = self.subnet.hosts().next().context("a subnet has hosts")?;
        fs::write(
            folder.join("subnet.env"),
            format!(
                "FLANNEL_NETWORK={NETWORK}\nFLANNEL_SUBNET={first}/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
            ),
        )?;
        Ok(())
    }
}

fn batch(host: &Host, program: &str, script: &str) -> Result<()> {
    let mut command = std::process::Command::new(program);
    host.place()
        .cmd_with(command.args(["-batch", "-"]), script)
        .map(drop)
}
