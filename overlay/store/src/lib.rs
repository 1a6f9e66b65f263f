//! Where leases come from: one trait, and the stores behind it.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contact::Contact;
use ipnet::IpNet;
use tokio::sync::watch;
use tweed_model::{
    BackendData, ClusterSnapshot, Dual, Lease, LeaseAttrs, Pool, SubnetKey, Subnets,
};

mod backoff;
mod claim;
pub mod contact;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod file;
pub mod forecast;
#[cfg(feature = "kube")]
pub mod kube;
pub mod memory;
mod standing;
#[cfg(feature = "tls")]
mod tls;

/// As many entries are held at most: more than any network has nodes.
const MOST_ENTRIES: usize = 1 << 17;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The network configuration isn't there yet.
    #[error("there is no network configuration at {at}: {fix}")]
    NoConfig {
        /// Key or path that was looked at.
        at: String,
        /// What to do about it.
        fix: String,
    },
    /// No subnet of the pool is free.
    #[error("out of subnets: {0}")]
    Exhausted(String),
    /// Other nodes kept taking what was chosen.
    #[error("no lease after {attempts} attempts: other nodes took each subnet first")]
    Contended {
        /// Transactions tried.
        attempts: u32,
    },
    /// The store assigns subnets itself, and has none for this node yet that can be used.
    #[error("{0}")]
    Unassigned(String),
    /// The entry isn't there.
    #[error("no lease {0} in the store")]
    NotFound(String),
    /// Credentials or certificates were refused, or can't be read. Trying again won't help until somebody acts.
    #[error("{0}")]
    Refused(String),
    /// The store can't be reached or failed; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// What a node asks for when it wants a lease.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where subnets come from.
    pub pools: Dual<Pool>,
    /// What to announce.
    pub attrs: LeaseAttrs,
    /// Subnets held before, best first (state folder, then `subnet.env`). The store adds what it finds under the own
    /// public address. A subnet that is no longer within the pools, or is held by somebody else, is passed over.
    pub previous: Vec<Dual<IpNet>>,
    /// What of the host's own lies inside the pools. No subnet is drawn from it; one that was held before is another matter.
    pub avoid: Vec<IpNet>,
    /// The lease that this node held last, with its order of creation.
    pub held: Option<(SubnetKey, u64)>,
    /// What this very process announced in that lease until now: nobody need be asked whose it is.
    pub announced: Option<LeaseAttrs>,
    /// [`OwnRecord::wishes`] that this request goes by: the lease is kept as long as they stay.
    pub wishes: Dual<IpAddr>,
    /// The subnets on which pods of this node sit, as far as their bridge tells; none where nothing does.
    pub inhabited: Dual<IpNet>,
    /// What this node would announce as data for the other backends that it runs: a lease with that is its own as well.
    pub also: Vec<Dual<BackendData>>,
    /// How long the lease lasts without renewal, where the store has such a thing.
    pub ttl: Duration,
}

/// How the own lease stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// Held, as far as the store last said.
    Held,
    /// The store can't be reached; the lease may still be ours.
    Unsure {
        /// Why.
        reason: String,
        /// When it answered last, as far as is known.
        since: Instant,
    },
    /// The key was gone; it is being taken back. Keep programming.
    Lost {
        /// How it got lost.
        reason: String,
    },
    /// Somebody else holds (part of) it. It must be given up and another acquired.
    Taken {
        /// The other holder's public addresses.
        by: Dual<IpAddr>,
    },
}

impl Holding {
    /// Whether it says something else than the one before.
    #[must_use]
    pub fn is_news(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Unsure { reason, .. }, Self::Unsure { reason: before, .. }) => reason != before,
            _ => self != before,
        }
    }
}

/// Why a lease can't be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody else holds (part of) it. Names the other holder's public addresses.
    Taken(Dual<IpAddr>),
    /// What it rests on has changed, such as the subnet that the store assigns. Says what.
    Changed(String),
}

/// What a store knows of this node by its name, before a lease is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnRecord {
    /// Addresses that an operator wants announced, and the uplink selected by.
    pub wishes: Dual<IpAddr>,
    /// Addresses that the store announces instead of the node's own.
    pub overwrites: Dual<IpAddr>,
    /// What this node announced last.
    pub announced: Option<LeaseAttrs>,
}

/// Whether pods on this node can reach others, for a store that tells the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not known yet.
    #[default]
    Unknown,
    /// The kernel is programmed.
    Up,
    /// It hasn't been for a while.
    Down {
        /// Why.
        reason: String,
    },
}

/// What a store that tells the cluster is told about this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Whether pods can reach others.
    pub health: Health,
    /// What keeps the container runtime from using our network, and what to do about it.
    pub cni_warnings: Vec<String>,
    /// What on the host is in the way of pods' packets, and what to do about it.
    pub host_warnings: Vec<String>,
    /// Other nodes that packets don't reach, and what that means; a few of many.
    pub peer_warnings: Vec<String>,
    /// What has happened lately, the oldest first; each is told once.
    pub events: Vec<NodeEvent>,
}

/// Something that has happened to this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEvent {
    /// Its place in the order of all: it only rises.
    pub number: u64,
    /// What it is, in one word.
    pub reason: &'static str,
    /// Whether somebody should look at it.
    pub warning: bool,
    /// What it is, in a sentence.
    pub note: String,
}

/// A place where nodes lease subnets and see each other's leases.
///
/// A store is a handle: clones are the same one. Stores own their connections and background tasks, end them when the
/// last handle is dropped, and never block the runtime. What a store knows of an own lease is in [`Held`], and nowhere
/// else.
pub trait LeaseStore {
    /// A lease of this node's.
    type Held: Held;
    /// What only stores that are servers have; [`Infallible`] where there is none.
    type Remote: Remote;
    /// What only stores that know nodes by name have; [`Infallible`] where there is none.
    type Cluster: Cluster;

    /// The raw text of the network configuration.
    ///
    /// # Errors
    /// [`StoreError::NoConfig`] while there is none.
    fn config(&self) -> impl Future<Output = Result<String, StoreError>>;

    /// Writes the raw text of the network configuration (`tweedd config set`). The caller has validated it.
    fn put_config(&self, text: &str) -> impl Future<Output = Result<(), StoreError>>;

    /// Takes a lease: one held before where that's possible, else a free one. Atomic against any number of others.
    fn acquire(&self, request: &Request) -> impl Future<Output = Result<Self::Held, StoreError>>;

    /// Gives a lease up, whichever node holds it (`tweedd leases release`).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is none.
    fn release(&self, key: &SubnetKey) -> impl Future<Output = Result<(), StoreError>>;

    /// One full, linearizable list.
    fn list(&self) -> impl Future<Output = Result<ClusterSnapshot, StoreError>>;

    /// Follows the store: each change replaces the snapshot in `out` (only when it differs), for ever. Reconnects by
    /// itself, lists afresh whenever events may have been missed, and at each `relist` notification. The snapshot that
    /// `out` starts with may hold saved peers with `in_sync == false`; they stay until the first list has arrived.
    fn follow(
        &self,
        out: watch::Sender<Arc<ClusterSnapshot>>,
        relist: Arc<tokio::sync::Notify>,
    ) -> impl Future<Output = ()>;

    /// When it answered last, as its requests and streams report it.
    fn contact(&self) -> Contact {
        Contact::default()
    }

    /// The servers behind it, if it has any.
    fn remote(&self) -> Option<&Self::Remote> {
        None
    }

    /// The cluster that it belongs to, if that knows nodes by name and cuts the network into their subnets.
    fn cluster(&self) -> Option<&Self::Cluster> {
        None
    }
}

/// A lease that was acquired and is to be kept. One that is dropped stays in the store, as when a process dies.
pub trait Held {
    /// The lease as it was acquired.
    fn lease(&self) -> &Lease;

    /// Keeps the lease until the future is dropped: renews it, restores its key and attributes if somebody removes or
    /// edits them, and reports each change of its standing. Returns only when another lease must be acquired.
    fn keep(self, standing: watch::Sender<Holding>) -> impl Future<Output = Ended>;
}

/// The servers of a store.
pub trait Remote {
    /// Their hosts, names or addresses.
    fn servers(&self) -> impl Future<Output = Vec<String>>;

    /// The way to them has changed (another uplink, another address): connections from before are dead and would only be
    /// found so by waiting. The next request makes new ones.
    fn redial(&self);
}

/// A cluster that knows this node by name.
pub trait Cluster {
    /// What it knows of this node before a lease is acquired.
    ///
    /// # Errors
    /// If it can't be read.
    fn own(&self) -> impl Future<Output = Result<OwnRecord, StoreError>>;

    /// Tells it how the node's network is. Never returns.
    fn attend(&self, report: watch::Receiver<NodeReport>) -> impl Future<Output = ()>;
}

/// The hosts of a store's servers, names or addresses; none where it has no servers.
pub async fn servers_of(store: &impl LeaseStore) -> Vec<String> {
    match store.remote() {
        Some(remote) => remote.servers().await,
        None => Vec::new(),
    }
}

/// What cuts the network into subnets: the cluster, where there is one, else this node.
pub fn cut_by(store: &impl LeaseStore) -> Subnets {
    match store.cluster() {
        Some(_) => Subnets::Assigned,
        None => Subnets::Leased,
    }
}

impl Remote for Infallible {
    async fn servers(&self) -> Vec<String> {
        match *self {}
    }

    fn redial(&self) {
        match *self {}
    }
}

impl Cluster for Infallible {
    async fn own(&self) -> Result<OwnRecord, StoreError> {
        match *self {}
    }

    async fn attend(&self, _report: watch::Receiver<NodeReport>) {
        match *self {}
    }
}

/// The host in a URL, or in `host:port`.
#[cfg(any(feature = "etcd", feature = "kube"))]
fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host),
    };
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(all(test, any(feature = "etcd", feature = "kube")))]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_of_a_server_is_read_from_its_url() {
        for (url, host) in [
            ("http://10.0.0.1:2379", "10.0.0.1"),
            ("https://[fd00::1]:2379/x", "fd00::1"),
            ("https://kube.example/", "kube.example"),
            ("etcd.example:2379", "etcd.example"),
        ] {
            assert_eq!(host_of(url).as_deref(), Some(host), "{url}");
        }
        assert_eq!(host_of("http://"), None);
    }
}
