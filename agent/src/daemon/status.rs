//! What the daemon knows of itself, as one value: `tweedd status`, `/readyz` and the metrics are views of it.

mod served;
mod standing;
mod tx_checksum;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::Dual;
use tweed_reconcile::Outcome;

use super::answers::Preview;
use super::data_plane::status::DataPlaneStatus;
use super::peers::{Known, Peer};
use crate::config::options::Options;
pub use standing::Standing;
pub use tx_checksum::TxChecksumStatus;

/// Version of the status document: it rises when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;

/// So many bad entries of a kind are shown.
pub const NAMED: usize = 100;

/// The store may be out of reach for this long before the node counts as out of sync.
const STORE_GRACE: Duration = Duration::from_secs(10);

/// A lease that is no peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedLease {
    /// The lease's key.
    pub lease: String,
    /// Why.
    pub reason: String,
    /// A fixed word for the kind of reason.
    pub kind: String,
}

/// The state of the kernel as the last passes left it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KernelStatus {
    /// Whether the last pass left everything as wanted.
    pub programmed: bool,
    /// Full passes since start.
    pub full_passes: u64,
    /// Fast passes since start.
    pub fast_passes: u64,
    /// Whether the last pass left the node without its devices: pods can't be reached.
    #[serde(default)]
    pub blocked: bool,
    /// Changes made since start.
    pub changes: u64,
    /// Changes that failed since start.
    pub failures: u64,
    /// What the last pass could not do: operation and error.
    pub failed: Vec<String>,
    /// Deletions held back, and why.
    pub held: Option<String>,
    /// Peers that stay programmed only because their deletion is held back.
    #[serde(default)]
    pub held_peers: usize,
    /// Objects that another program keeps changing, with how often that was noticed.
    pub fights: BTreeMap<String, u64>,
    /// Duration of the last full pass in seconds.
    pub last_full_seconds: f64,
}

/// What was placed for the container runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniStatus {
    /// The network configuration list, once it is there.
    pub list: Option<String>,
    /// Why plugin or list is not in place.
    pub error: Option<String>,
    /// What keeps pods from our network though plugin and list are in place, and what to do about it.
    pub warnings: Vec<String>,
}

/// Something on this host that is in the way of pods' packets, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostWarning {
    /// A fixed word for its kind.
    pub kind: String,
    /// What it is, and what mends it.
    pub text: String,
}

impl HostWarning {
    /// One of a kind.
    pub fn new(kind: &str, text: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            text: text.into(),
        }
    }
}

/// Everything. Whether an agent runs or not, the fields are the same.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Version of this document.
    #[serde(default)]
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// Process id of the agent; none where no agent runs.
    pub pid: Option<u32>,
    /// What the agent has given up for good, as far as the kernel let it; nothing with `--sandbox=false`.
    #[serde(default)]
    pub sandbox: Vec<String>,
    /// Name of this overlay network on this host: its nftables table.
    pub network_name: String,
    /// What the daemon is waiting for, while it isn't running yet.
    pub waiting: Option<String>,
    /// Where leases come from.
    pub store: String,
    /// Whether a full list has been read.
    pub in_sync: bool,
    /// How the own lease stands.
    pub lease: Standing,
    /// The own subnets.
    pub subnets: Dual<IpNet>,
    /// The addresses announced to the other nodes.
    pub public: Dual<IpAddr>,
    /// The uplink, and why it was chosen.
    pub uplink: Option<String>,
    /// Why it can't be used now, though the daemon goes on with what it had.
    pub no_uplink: Option<String>,
    /// The backend.
    pub backend: Option<String>,
    /// The backends whose nodes are peers too.
    #[serde(default)]
    pub accepts: Vec<String>,
    /// From which senders VXLAN packets are taken: `subnets` (each peer's from its own subnet), `peers`, or `anyone`.
    pub trust: Option<String>,
    /// Who makes the checksums of what the VXLAN devices carry, where there are such.
    #[serde(default)]
    pub tx_checksum: Option<TxChecksumStatus>,
    /// MTU of the pods' interfaces in bytes.
    pub mtu: Option<u32>,
    /// Number of peers.
    pub peers: usize,
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
    /// Store entries that can't be read, and why; when it is served, the first hundred.
    pub broken: BTreeMap<String, String>,
    /// How many there are of the two beyond those.
    #[serde(default)]
    pub more_bad_entries: usize,
    /// The kernel.
    pub kernel: KernelStatus,
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
    /// Whether it carries anything.
    #[serde(skip)]
    pub data_plane_carries: bool,
    /// What is due in the kernel, where no agent runs that would do it.
    #[serde(default)]
    pub drift: Option<Preview>,
    /// What the list of the other nodes is made from.
    #[serde(skip)]
    pub known: Known,
    /// Whether everything is as it should be.
    pub ready: bool,
    /// Why not.
    pub not_ready: Vec<String>,
    #[serde(skip)]
    pub(super) unsure_since: Option<Instant>,
}

impl Status {
    /// That of an agent that has said nothing.
    pub fn unheard(options: &Options) -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            network_name: options.host.instance.to_string(),
            store: options.store.to_string(),
            ..Self::default()
        }
    }

    /// Files the standing of the own lease.
    pub fn set_lease(&mut self, standing: Standing, now: Instant) {
        self.unsure_since = match standing {
            Standing::Unsure(_) => self.unsure_since.or(Some(now)),
            _ => None,
        };
        self.lease = standing;
    }

    /// Files what a pass did.
    pub fn add_outcome(&mut self, outcome: &Outcome) {
        let kernel = &mut self.kernel;
        kernel.programmed = outcome.is_clean();
        kernel.blocked = outcome.blocked;
        kernel.changes += outcome.done.len() as u64;
        kernel.failures += outcome.failed.len() as u64;
        let failed = outcome
            .failed
            .iter()
            .map(|failure| format!("{}: {}", failure.op, failure.error));
        kernel.failed = failed.collect();
        kernel.held = outcome.held.map(|held| held.to_string());
        kernel.held_peers = outcome.held.map_or(0, |held| held.losing());
        for object in &outcome.fights {
            *kernel.fights.entry(object.clone()).or_default() += 1;
        }
        if outcome.full {
            kernel.full_passes += 1;
            kernel.last_full_seconds = outcome.took.as_secs_f64();
        } else {
            kernel.fast_passes += 1;
        }
    }

    /// The status with `ready` and its reasons worked out.
    pub fn judged(&self, now: Instant) -> Self {
        let mut status = self.clone();
        status.not_ready = self.reasons(now);
        status.ready = status.not_ready.is_empty();
        status
    }

    /// Why pods on this node can't reach others at all. A peer that can't be programmed is no such reason, and neither
    /// is a store out of reach; a lost lease is one, since nobody else knows the way to this node then.
    pub fn network_down(&self) -> Option<String> {
        let waiting = self
            .waiting
            .as_ref()
            .map(|reason| format!("waiting: {reason}"));
        let blocked = self
            .kernel
            .blocked
            .then(|| match self.kernel.failed.first() {
                Some(failed) => format!("kernel: {failed}"),
                None => "the kernel can't be programmed".to_owned(),
            });
        let file = match (&self.subnet_file, &self.subnet_file_error) {
            (_, Some(error)) => Some(format!("subnet file: {error}")),
            (None, None) => Some("the kernel is not programmed yet".to_owned()),
            (Some(_), None) => None,
        };
        // An accepted backend's is no such reason either: peers come by the own one.
        let accepted = self.accepts.iter().any(|backend| backend == "udp");
        let carried = accepted || self.data_plane_carries;
        let carrier = self.data_plane_error().filter(|_| !carried);
        let lost = match &self.lease {
            Standing::Lost(reason) => Some(format!("lease lost: {reason}")),
            _ => None,
        };
        waiting
            .or(self.no_uplink.clone())
            .or(blocked)
            .or(carrier)
            .or(file)
            .or(lost)
    }

    fn data_plane_error(&self) -> Option<String> {
        let error = self.data_plane_error.as_ref()?;
        Some(format!("data plane: {error}"))
    }

    fn reasons(&self, now: Instant) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(waiting) = &self.waiting {
            reasons.push(format!("waiting: {waiting}"));
            return reasons;
        }
        let overdue = |since: Instant| now.duration_since(since) > STORE_GRACE;
        match &self.lease {
            Standing::None => reasons.push("no lease yet".to_owned()),
            Standing::Lost(reason) => reasons.push(format!("lease lost: {reason}")),
            Standing::Taken(by) => reasons.push(format!("lease {by}")),
            Standing::Unsure(reason) if self.unsure_since.is_some_and(overdue) => {
                reasons.push(format!("store out of reach: {reason}"));
            }
            Standing::Saved => {
                reasons.push("the store has not confirmed the saved lease".to_owned());
            }
            Standing::Unsure(_) | Standing::Held => {}
        }
        if !self.in_sync && !matches!(self.lease, Standing::Saved) {
            reasons.push("no full list of leases yet".to_owned());
        }
        reasons.extend(self.no_uplink.clone());
        reasons.extend(self.data_plane_error());
        reasons.extend(
            self.kernel
                .failed
                .iter()
                .map(|failed| format!("kernel: {failed}")),
        );
        let modules = self.warnings.iter();
        let modules = modules.filter(|warning| warning.kind == "br_netfilter");
        reasons.extend(modules.map(|warning| warning.text.clone()));
        reasons.extend(self.earlier_subnet.clone());
        if let Some(held) = &self.kernel.held {
            reasons.push(format!("deletions held back: {held}"));
        }
        if !self.kernel.programmed && reasons.is_empty() {
            reasons.push("the kernel is not programmed yet".to_owned());
        }
        match &self.subnet_file_error {
            Some(error) => reasons.push(format!("subnet file: {error}")),
            None if self.subnet_file.is_none() && reasons.is_empty() => {
                reasons.push("the subnet file is not written yet".to_owned());
            }
            None => {}
        }
        match &self.cni {
            Some(CniStatus {
                error: Some(error), ..
            }) => reasons.push(format!("CNI: {error}")),
            Some(CniStatus { list: None, .. }) if reasons.is_empty() => {
                reasons.push("the CNI network configuration list is not placed yet".to_owned());
            }
            _ => {}
        }
        reasons
    }
}

/// The status, shared between the daemon's loop and the servers.
#[derive(Clone, Default)]
pub struct SharedStatus(Arc<Mutex<Status>>);

impl SharedStatus {
    /// Changes the status.
    pub fn update<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        change(&mut self.lock())
    }

    /// The status now, judged.
    pub fn read(&self) -> Status {
        self.lock().judged(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // Nothing panics while it holds the lock; and if it did, the value would still be a status.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
