//! Kubernetes with flannel's conventions: the lease of a node is its `spec.podCIDRs`, what it announces stands in its
//! annotations, and the network configuration is a file (a mounted ConfigMap).
//!
//! Nothing is written but the own Node's annotations, its condition `NetworkUnavailable`, and Events about it; and only
//! when it differs from what stands there.

mod assign;
mod causes;
mod condition;
mod connect;
mod credentials;
mod events;
mod follow;
mod keep;
mod node;
mod options;
mod own;
mod versions;

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use self::assign::{Missing, assigned, explain};
use self::connect::{Failure, Servers};
use self::events::{Events, Warning};
use self::node::NodeRecord;
pub use self::options::{NodeName, Options};
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_model::lease::Term;
use tweed_model::{ClusterSnapshot, Dual, Family, Lease, Pool, SubnetKey, Subnets, annotations};

use self::own::{Own, OwnNode};
use self::versions::Versions;
use super::backoff::jittered;
use super::{Ended, Holding, LeaseStore, NodeReport, OwnRecord, Request, StoreError};

/// How long a subnet may take to be assigned before it is asked why.
const USUAL_DELAY: Duration = Duration::from_secs(10);
/// How often it is asked.
const EXPLAIN_EVERY: Duration = Duration::from_secs(300);
/// While there is no subnet, the Node is looked at when it changes, and after this.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// One network in Kubernetes.
pub struct KubeStore {
    options: Options,
    servers: Arc<Servers>,
    own: OwnNode,
    versions: Arc<Versions>,
    events: Events,
    listings: AtomicU64,
    waiting: Mutex<Option<Waiting>>,
    wishes: Mutex<Dual<IpAddr>>,
}

/// A subnet that doesn't come.
struct Waiting {
    since: Instant,
    asked: Option<Instant>,
    /// The Node's podCIDRs at the last look.
    seen: Vec<String>,
    /// What was found out.
    found: Missing,
}

impl fmt::Debug for KubeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeStore")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl KubeStore {
    /// Touches nothing yet: credentials are read, and connections made, when they are needed.
    pub fn new(options: Options) -> Self {
        let servers = Arc::new(Servers::new(options.clone()));
        let versions = Arc::new(Versions::default());
        let watched = (Arc::clone(&servers), Arc::clone(&versions));
        Self {
            own: OwnNode::new(watched, options.node.clone()),
            versions,
            servers,
            options,
            events: Events::default(),
            listings: AtomicU64::new(0),
            waiting: Mutex::default(),
            wishes: Mutex::default(),
        }
    }

    fn next_listing(&self) -> u64 {
        self.listings.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn wishes(&self) -> Dual<IpAddr> {
        *self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn patch(&self, name: &str, patch: &Patch<Value>) -> Result<(), Failure> {
        let api = self.nodes().await?;
        let params = PatchParams::default();
        let request = api.patch(name, &params, patch);
        self.servers
            .call("write the own Node", request)
            .await
            .map(drop)
    }

    async fn patch_status(&self, name: &str, patch: &Patch<Value>) -> Result<(), Failure> {
        let api = self.nodes().await?;
        let params = PatchParams::default();
        let request = api.patch_status(name, &params, patch);
        self.servers
            .call("write the own Node's annotations or status", request)
            .await
            .map(drop)
    }

    async fn nodes(&self) -> Result<Api<NodeRecord>, Failure> {
        match self.servers.client().await {
            Ok(client) => Ok(Api::all(client)),
            Err(error) => Err(Failure {
                code: 0,
                text: error.to_string(),
            }),
        }
    }

    /// All nodes, read page by page.
    async fn all(&self) -> Result<Vec<NodeRecord>, StoreError> {
        let api = self.nodes().await?;
        let mut nodes = Vec::new();
        let mut token = None;
        loop {
            let mut params = ListParams::default().limit(follow::PAGE);
            params.continue_token = token;
            let page = self.servers.call("list nodes", api.list(&params)).await?;
            nodes.extend(page.items);
            token = page.metadata.continue_.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(nodes);
            }
        }
    }

    /// Says why there is no subnet, with an Event.
    async fn refuse(&self, node: &NodeRecord, missing: Missing) -> StoreError {
        let found = self.explained(node, missing).await;
        let warning = Warning {
            reason: found.word,
            action: "AcquireLease",
            note: &found.text,
        };
        self.warn(node, &warning).await;
        StoreError::Unassigned(found.text)
    }

    async fn warn(&self, node: &NodeRecord, warning: &Warning<'_>) {
        if let Ok(client) = self.servers.client().await {
            self.events.warn(client, node, warning).await;
        }
    }

    /// There is a subnet: what was found out about its absence is of the past.
    fn assigned(&self) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn explained(&self, node: &NodeRecord, missing: Missing) -> Missing {
        let ask = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let state = waiting.get_or_insert_with(|| Waiting {
                since: now,
                asked: None,
                seen: Vec::new(),
                found: missing.clone(),
            });
            state.seen.clone_from(&node.pod_cidrs);
            let due = state.asked.is_none_or(|at| at.elapsed() >= EXPLAIN_EVERY);
            if !due && state.found.text.starts_with(&missing.text) {
                return state.found.clone();
            }
            state.found = missing.clone();
            let ask = due && state.since.elapsed() >= USUAL_DELAY;
            if ask {
                state.asked = Some(now);
            }
            ask
        };
        if !ask {
            return missing;
        }
        let Ok(api) = self.nodes().await else {
            return missing;
        };
        let first = ListParams::default().limit(follow::PAGE);
        let Ok(page) = self.servers.call("list nodes", api.list(&first)).await else {
            return missing;
        };
        let more = page.metadata.remaining_item_count.unwrap_or(0);
        let found = explain(missing, &node.name(), &page.items, more);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut() {
            waiting.found = found.clone();
        }
        found
    }

    /// Waits for other subnets of the Node if the last look at it was in vain.
    async fn pause(&self) -> Result<(), StoreError> {
        let last = {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting
                .as_ref()
                .map(|waiting| (waiting.since, waiting.seen.clone()))
        };
        let Some((since, seen)) = last else {
            return Ok(());
        };
        let patience = match since.elapsed() < USUAL_DELAY {
            true => USUAL_DELAY - since.elapsed(),
            false => jittered(LOOK_AGAIN),
        };
        let mut own = self.own.subscribe().await?;
        let news = own.wait_for(|own| match own {
            Own::There(node) => node.pod_cidrs != seen,
            Own::Unread | Own::Absent | Own::Unsure(..) => true,
        });
        // Ends either way.
        let _ = timeout(patience, news).await;
        Ok(())
    }

    /// The pod networks, where the configuration can be read.
    fn pools(&self) -> Dual<Pool> {
        follow::pools(follow::read_config(&self.options.config_file).as_deref()).unwrap_or_default()
    }

    fn families(&self) -> Dual<()> {
        follow::families(follow::read_config(&self.options.config_file).as_deref())
    }
}

impl LeaseStore for KubeStore {
    async fn config(&self) -> Result<String, StoreError> {
        let file = &self.options.config_file;
        bounded_file::read_text(file, Links::Followed, MIB).map_err(|error| StoreError::NoConfig {
            at: file.display().to_string(),
            fix: format!(
                "{error}; with Kubernetes it is a file, net-conf.json of the ConfigMap; see --net-config-path"
            ),
        })
    }

    async fn put_config(&self, _text: &str) -> Result<(), StoreError> {
        Err(StoreError::Refused(format!(
            "with Kubernetes the network configuration is the file {}, mounted from a ConfigMap: edit that \
             (kubectl edit configmap); running agents notice",
            self.options.config_file.display()
        )))
    }

    async fn acquire(&self, request: &Request) -> Result<Lease, StoreError> {
        self.pause().await?;
        let node = self.own.read().await?;
        let key = match assigned(&node, &request.pools) {
            Ok(key) => key,
            Err(missing) => return Err(self.refuse(&node, missing).await),
        };
        self.assigned();
        match keep::settle(self, &node, &request.attrs, None).await {
            Ok(()) => {}
            Err(failure) => return Err(failure.into()),
        }
        Ok(Lease {
            key,
            attrs: request.attrs.clone(),
            node: Some(node.name()),
            created: node.created(),
            term: Term::Leased,
        })
    }

    async fn keep(&self, lease: &Lease, standing: watch::Sender<Holding>) -> Ended {
        keep::keep(self, lease, &standing).await
    }

    /// Takes the annotations from the Node that has this subnet, so that it is no peer any more. The subnet stays the
    /// Node's.
    async fn release(&self, key: &SubnetKey) -> Result<(), StoreError> {
        let prefix = &self.options.prefix;
        let families = self.families();
        let holds = |node: &&NodeRecord| {
            let lease = node.lease(prefix, &families).ok().flatten();
            lease.is_some_and(|lease| lease.key == *key)
        };
        let nodes = self.all().await?;
        let Some(node) = nodes.iter().find(holds) else {
            return Err(StoreError::NotFound(key.to_string()));
        };
        let changes = annotations::removal(prefix, node.annotations());
        let patch = json!({ "metadata": { "uid": node.uid(), "annotations": changes } });
        self.patch_status(&node.name(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    fn redial(&self) {
        self.servers.redial();
    }

    async fn list(&self) -> Result<ClusterSnapshot, StoreError> {
        let nodes = self.all().await?;
        let families = self.families();
        let mut snapshot =
            follow::listed(&self.options.prefix, &families, &nodes, self.next_listing());
        snapshot.config = follow::read_config(&self.options.config_file);
        Ok(snapshot)
    }

    async fn follow(&self, out: watch::Sender<Arc<ClusterSnapshot>>, relist: Arc<Notify>) {
        tokio::select! {
            () = follow::follow(self, &out, &relist) => {}
            never = versions::look_out(self) => match never {},
        }
    }

    async fn own(&self) -> Result<OwnRecord, StoreError> {
        let node = self.own.read().await?;
        let prefix = &self.options.prefix;
        let wishes = annotations::wishes(prefix, node.annotations());
        for wrong in &wishes.wrong {
            tracing::warn!(node = node.name(), %wrong, "ignored");
        }
        *self.wishes.lock().unwrap_or_else(PoisonError::into_inner) = wishes.addrs;
        Ok(OwnRecord {
            wishes: wishes.addrs,
            overwrites: annotations::overwrites(prefix, node.annotations()).addrs,
            announced: annotations::parse(prefix, node.annotations())
                .ok()
                .flatten(),
        })
    }

    /// Kubernetes cuts its subnets as it was told, whatever `SubnetLen` and `SubnetMin` say.
    fn fits(&self, pool: &Pool, subnet: &IpNet) -> bool {
        Family::of_net(subnet) == Family::of_net(&pool.network) && pool.network.contains(subnet)
    }

    fn subnets(&self) -> Subnets {
        Subnets::Assigned
    }

    async fn servers(&self) -> Vec<String> {
        connect::hosts(&self.options).await
    }

    async fn attend(&self, report: watch::Receiver<NodeReport>) {
        condition::attend(self, report).await;
    }
}
