//! Facts that the parts of the daemon file, each its own. The status is computed from them when it is asked for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ipnet::IpNet;
use tweed_model::{Dual, Refusal, SubnetKey};
use tweed_state::attached::UsedBridge;
use tweed_store::contact::Contact;

use super::clock;
use super::peers::Known;
use super::probing::{Answers, Probing};
use super::ready_since::ReadySince;
use super::status::attached::AttachedStatus;
use super::status::parts::{CniStatus, HostWarning, KernelStatus, NAMED, RefusedLease};
use super::status::standing::Standing;
use super::status::tx_checksum::TxChecksumStatus;
use crate::config::options::Options;
use crate::events::journal::Journal;

/// Instead of an error, while the store has not been waited for.
pub const NO_ANSWER_YET: &str = "it has not answered yet";

/// The facts of all parts.
#[derive(Debug, Default)]
pub struct Facts {
    /// What has happened.
    pub events: Journal,
    /// The process.
    pub agent: AgentFacts,
    /// Since when it has been ready, or not.
    pub ready: ReadySince,
    /// What the daemon is waiting for, while it has no session.
    pub waiting: Option<String>,
    /// The session, or the last one.
    pub session: SessionFacts,
    /// State of the own lease.
    pub lease: LeaseFacts,
    /// The other nodes.
    pub cluster: ClusterFacts,
    /// The kernel, as the passes left it.
    pub kernel: KernelStatus,
    /// What attachments of containers have on the host.
    pub attached: AttachedStatus,
    /// Bridges with ports.
    pub bridges: Vec<UsedBridge>,
    /// The file for the CNI plugin.
    pub subnet_file: FileFacts,
    /// Why there is no uplink now.
    pub no_uplink: Option<String>,
    /// What is wrong with the host's own network.
    pub host: Vec<String>,
    /// What was placed for the container runtime, where that was asked for.
    pub cni: Option<CniStatus>,
    /// What on this host is in the way of pods' packets.
    pub warnings: Vec<HostWarning>,
    /// A flanneld that was started beside this agent.
    pub flanneld: Option<HostWarning>,
    /// Our own data plane.
    pub data_plane: DataPlaneFacts,
    /// Checksums of what VXLAN devices carry.
    pub tx_checksum: Option<TxChecksumStatus>,
    /// Why pods of an earlier subnet keep others from starting.
    pub earlier_subnet: Option<String>,
}

/// The process and what it was told to work on.
#[derive(Debug, Default)]
pub struct AgentFacts {
    /// Process id.
    pub pid: Option<u32>,
    /// When it started, in seconds since 1970.
    pub started: Option<u64>,
    /// What it has given up.
    pub sandbox: Vec<String>,
    /// Name of this overlay network on this host.
    pub network_name: String,
    /// Where leases come from.
    pub store: String,
    /// When that answered last.
    pub contact: Contact,
}

/// What stays the same in a session.
#[derive(Clone, Debug, Default)]
pub struct SessionFacts {
    /// Subnets of the own lease.
    pub subnets: Dual<IpNet>,
    /// The addresses announced to the other nodes.
    pub public: Dual<IpAddr>,
    /// The networks that pods are in.
    pub networks: Vec<IpNet>,
    /// UDP ports of the tunnels, and whether the packet filter has to know their packets, as with VXLAN.
    pub tunnels: BTreeMap<u16, bool>,
    /// Name of the uplink, and why it was chosen.
    pub uplink: Option<String>,
    /// Its MTU in bytes.
    pub uplink_mtu: Option<u32>,
    /// Name of the backend.
    pub backend: Option<String>,
    /// The backends whose nodes are peers too.
    pub accepts: Vec<String>,
    /// From which senders VXLAN packets are taken.
    pub trust: Option<String>,
    /// MTU of the pods' interfaces in bytes.
    pub mtu: Option<u32>,
    /// Whether IPv4 routes to peers lead by nexthop objects; none with backends that have no route by a gateway.
    pub nexthops: Option<bool>,
}

/// How the own lease stands.
#[derive(Debug, Default)]
pub struct LeaseFacts {
    /// The own lease, as far as it is known.
    pub standing: Standing,
    /// Since when the store is out of reach.
    pub unsure_since: Option<Instant>,
    /// Why it is.
    pub store_error: Option<String>,
}

/// The leases of the other nodes.
#[derive(Debug, Default)]
pub struct ClusterFacts {
    /// Whether a full list has been read.
    pub in_sync: bool,
    /// Number of peers.
    pub peers: usize,
    /// Whether packets of any of them come through a tunnel, and not by direct routes alone.
    pub tunnelled: bool,
    /// Leases that are no peers.
    pub refused: Vec<RefusedLease>,
    /// Subnets that are reserved for this node, which holds another, and how it gets them.
    pub reserved: BTreeMap<String, String>,
    /// Entries that can't be read, and why.
    pub broken: BTreeMap<String, String>,
    /// What the list of the other nodes is made from.
    pub known: Known,
    /// The thread that asks them.
    pub probing: Probing,
    /// Which of them answer.
    pub answers: Answers,
}

/// A file that is kept.
#[derive(Debug, Default)]
pub struct FileFacts {
    /// Where it is, once it is written.
    pub path: Option<String>,
    /// Why it can't be written.
    pub error: Option<String>,
    /// Another program has written it since this agent first did.
    pub rewritten: bool,
}

/// Our own data plane.
#[derive(Debug, Default)]
pub struct DataPlaneFacts {
    /// Whether it carries anything.
    pub carries: bool,
    /// Why it carries nothing, or not everything.
    pub error: Option<String>,
}

impl Facts {
    /// The facts of an agent that has just started.
    pub fn of(options: &Options, sandbox: Vec<String>) -> Self {
        let now = clock::seconds();
        Self {
            ready: ReadySince::start(now),
            agent: AgentFacts {
                pid: Some(std::process::id()),
                started: Some(now),
                sandbox,
                network_name: options.host.instance.to_string(),
                store: options.store.to_string(),
                contact: Contact::default(),
            },
            waiting: Some("starting".to_owned()),
            ..Self::default()
        }
    }

    /// All that on this host is in the way.
    pub fn warnings(&self) -> impl Iterator<Item = &HostWarning> {
        self.warnings.iter().chain(&self.flanneld)
    }

    /// Whether a pod that starts now gets a network that works.
    pub fn pods_can_start(&self) -> bool {
        self.waiting.is_none() && self.subnet_file.path.is_some()
    }
}

impl ClusterFacts {
    /// Files what is reserved for this node beside its own lease.
    pub fn set_reserved(&mut self, reserved: &BTreeMap<SubnetKey, bool>, own: SubnetKey) {
        let subnets = |key: &SubnetKey| {
            let subnets: Vec<String> = key.0.values().map(ToString::to_string).collect();
            subnets.join(" and ")
        };
        let text = |key: &SubnetKey| {
            let (held, subnet) = (subnets(&own), subnets(key));
            let text = format!(
                "reserved for this node, which holds {held} and keeps it; to move it to {subnet}: drain it, stop tweedd, tweedd leases release {held}, start tweedd"
            );
            (key.to_string(), text)
        };
        let mine = reserved.iter().filter(|(_, for_us)| **for_us);
        self.reserved = mine.take(NAMED).map(|(key, _)| text(key)).collect();
    }

    /// Files the refused leases.
    pub fn set_refused(&mut self, refused: &BTreeMap<SubnetKey, Refusal>) {
        let refused = refused.iter().map(|(key, reason)| RefusedLease {
            lease: key.to_string(),
            reason: reason.to_string(),
            kind: reason.label().to_owned(),
        });
        self.refused = refused.collect();
    }
}

impl LeaseFacts {
    /// Whether the store was asked, and gave no answer or an error, when it was asked last.
    pub fn was_away(&self) -> bool {
        let error = self.store_error.as_deref();
        error.is_some_and(|error| error != NO_ANSWER_YET)
    }

    /// Files the standing of the own lease, and since when it is so if the store can't be reached.
    pub fn set(&mut self, standing: Standing, since: Instant) {
        self.unsure_since = match standing {
            Standing::Unsure(_) => self.unsure_since.or(Some(since)),
            _ => None,
        };
        self.standing = standing;
    }
}

/// The facts, shared between the daemon's loop, which files them, and the servers. Nobody holds them over an await.
#[derive(Clone, Default)]
pub struct SharedFacts(Arc<Mutex<Facts>>);

impl SharedFacts {
    /// Shares facts.
    pub fn new(facts: Facts) -> Self {
        Self(Arc::new(Mutex::new(facts)))
    }

    /// The facts as they are now.
    pub fn lock(&self) -> MutexGuard<'_, Facts> {
        // Nothing panics while it holds the lock; and if it did, the value would still be facts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
