//! What the daemon knows of itself, as one value: `tweedd status`, `/readyz` and the metrics are views of it.

pub mod attached;
pub mod bridge;
pub mod parts;
pub mod repair;
mod served;
pub mod standing;
pub mod tx_checksum;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::Dual;
use tweed_probe::health::State;

use super::answers::Preview;
use super::clock;
use super::data_plane::status::DataPlaneStatus;
use super::facts::Facts;
use super::peers::Peer;
use super::probing::BadPeer;
use super::readiness;
use crate::config::options::Options;
pub use attached::AttachedStatus;
pub use bridge::BridgeStatus;
pub use parts::{CniStatus, HostWarning, KernelStatus, NAMED, RefusedLease};
pub use standing::Standing;
pub use tx_checksum::TxChecksumStatus;

/// Version of the status document: it rises when a field changes its meaning or goes.
pub const SCHEMA: u32 = 2;

/// The status document. Its fields are the same with and without a running agent. Times are seconds since 1970.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Version of this document.
    #[serde(default)]
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// Process id of the agent; none where no agent runs.
    pub pid: Option<u32>,
    /// When it started.
    #[serde(default)]
    pub started: Option<u64>,
    /// Since when `ready` has been what it is.
    #[serde(default)]
    pub ready_since: Option<u64>,
    /// Whether an agent runs and doesn't answer: all this is then what its files, the store and the kernel say.
    #[serde(default)]
    pub silent: bool,
    /// What the agent has given up for good, as far as the kernel let it; nothing with `--sandbox=false`.
    #[serde(default)]
    pub sandbox: Vec<String>,
    /// Name of this overlay network on this host: its nftables table.
    pub network_name: String,
    /// What the daemon is waiting for, while it isn't running yet.
    pub waiting: Option<String>,
    /// Where leases come from.
    pub store: String,
    /// When the store answered last. Of Kubernetes and folders, changes that come by themselves count; with etcd it is
    /// asked when it says nothing.
    #[serde(default)]
    pub store_answered: Option<u64>,
    /// When the own lease was renewed last, where leases run out.
    #[serde(default)]
    pub lease_renewed: Option<u64>,
    /// Why the store can't be reached, while it can't.
    #[serde(default)]
    pub store_error: Option<String>,
    /// Whether a full list has been read, and the store is within reach.
    pub in_sync: bool,
    /// How the own lease stands.
    pub lease: Standing,
    /// Subnets of the own lease.
    pub subnets: Dual<IpNet>,
    /// The addresses announced to the other nodes.
    pub public: Dual<IpAddr>,
    /// The uplink, and why it was chosen.
    pub uplink: Option<String>,
    /// Its MTU in bytes.
    #[serde(default)]
    pub uplink_mtu: Option<u32>,
    /// Why it can't be used now, though the daemon goes on with what it had.
    pub no_uplink: Option<String>,
    /// Name of the backend.
    pub backend: Option<String>,
    /// The backends whose nodes are peers too.
    #[serde(default)]
    pub accepts: Vec<String>,
    /// From which senders VXLAN packets are taken: `subnets` (each peer's from its own subnet), `peers`, or `anyone`.
    pub trust: Option<String>,
    /// Whether the kernel or the card makes the checksums of what the VXLAN devices carry, where there are such devices.
    #[serde(default)]
    pub tx_checksum: Option<TxChecksumStatus>,
    /// MTU of the pods' interfaces in bytes.
    pub mtu: Option<u32>,
    /// Whether IPv4 routes to peers lead by nexthop objects, or the kernel has none. Absent without IPv4, and where no
    /// backend has a route by a gateway.
    #[serde(default)]
    pub nexthops: Option<bool>,
    /// The bridges that pods are on.
    #[serde(default)]
    pub bridges: Vec<BridgeStatus>,
    /// Number of peers.
    pub peers: usize,
    /// How many of them answer how; nothing where they are not asked.
    #[serde(default)]
    pub peer_states: BTreeMap<State, usize>,
    /// Those that packets don't reach, or not all packets; the first hundred.
    #[serde(default)]
    pub bad_peers: Vec<BadPeer>,
    /// The other nodes one by one, where that was asked for.
    #[serde(default)]
    pub peer_list: Option<Vec<Peer>>,
    /// How many of them are not in the list.
    #[serde(default)]
    pub peers_left_out: usize,
    /// What is wrong with the host's own network, and the command that mends it.
    #[serde(default)]
    pub host: Vec<String>,
    /// Leases that are no peers; when it is served, the first hundred.
    pub refused: Vec<RefusedLease>,
    /// Subnets that are reserved for this node, which holds another, and how it gets them.
    #[serde(default)]
    pub reserved: BTreeMap<String, String>,
    /// Store entries that can't be read, and why; when it is served, the first hundred.
    pub broken: BTreeMap<String, String>,
    /// How many there are of the two beyond those.
    #[serde(default)]
    pub more_bad_entries: usize,
    /// Results of the passes over the kernel.
    pub kernel: KernelStatus,
    /// What attachments of containers have on this host.
    #[serde(default)]
    pub attached: AttachedStatus,
    /// The file for the CNI plugin, once it is written.
    pub subnet_file: Option<String>,
    /// Why it can't be written.
    pub subnet_file_error: Option<String>,
    /// What was placed for the container runtime, where that was asked for.
    #[serde(default)]
    pub cni: Option<CniStatus>,
    /// What on this host is in the way of pods' packets.
    #[serde(default)]
    pub warnings: Vec<HostWarning>,
    /// What our own data plane carries, with a backend that has one.
    #[serde(default)]
    pub data_plane: Option<DataPlaneStatus>,
    /// Why it carries nothing, or not everything.
    pub data_plane_error: Option<String>,
    /// Why pods of an earlier subnet keep others from starting.
    #[serde(default)]
    pub earlier_subnet: Option<String>,
    /// What is due in the kernel, where no agent runs that would do it.
    #[serde(default)]
    pub drift: Option<Preview>,
    /// Whether everything is as it should be.
    pub ready: bool,
    /// Why not.
    pub not_ready: Vec<String>,
}

impl Status {
    /// The status of an agent that has given none.
    pub fn unknown(options: &Options) -> Self {
        Self {
            schema: SCHEMA,
            version: tweed_model::VERSION.to_owned(),
            network_name: options.host.instance.to_string(),
            store: options.store.to_string(),
            ..Self::default()
        }
    }

    /// Computes the status from these facts.
    pub fn of(facts: &Facts, now: Instant) -> Self {
        let (agent, session, cluster) = (&facts.agent, &facts.session, &facts.cluster);
        let not_ready = readiness::not_ready(facts, now);
        let ready = not_ready.is_empty();
        Self {
            schema: SCHEMA,
            version: tweed_model::VERSION.to_owned(),
            pid: agent.pid,
            started: agent.started,
            ready_since: Some(facts.ready.at(ready, clock::seconds())),
            sandbox: agent.sandbox.clone(),
            network_name: agent.network_name.clone(),
            waiting: facts.waiting.clone(),
            store: agent.store.clone(),
            store_answered: agent.contact.answered(),
            lease_renewed: agent.contact.renewed(),
            store_error: facts.lease.store_error.clone(),
            // The lists of a store that is out of reach may be out of date.
            in_sync: cluster.in_sync && !matches!(facts.lease.standing, Standing::Unsure(_)),
            lease: facts.lease.standing.clone(),
            subnets: session.subnets,
            public: session.public,
            uplink: session.uplink.clone(),
            uplink_mtu: session.uplink_mtu,
            no_uplink: facts.no_uplink.clone(),
            backend: session.backend.clone(),
            accepts: session.accepts.clone(),
            trust: session.trust.clone(),
            mtu: session.mtu,
            nexthops: session.nexthops,
            tx_checksum: facts.tx_checksum.clone(),
            bridges: bridge::of_pods(&facts.bridges, &session.subnets),
            peers: cluster.peers,
            peer_states: cluster.answers.states.clone(),
            bad_peers: cluster.answers.bad.clone(),
            host: facts.host.clone(),
            refused: cluster.refused.clone(),
            reserved: cluster.reserved.clone(),
            broken: cluster.broken.clone(),
            kernel: facts.kernel.clone(),
            attached: facts.attached.clone(),
            subnet_file: facts.subnet_file.path.clone(),
            subnet_file_error: facts.subnet_file.error.clone(),
            cni: facts.cni.clone(),
            warnings: facts.warnings().cloned().collect(),
            data_plane_error: facts.data_plane.error.clone(),
            earlier_subnet: facts.earlier_subnet.clone(),
            ready,
            not_ready,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
