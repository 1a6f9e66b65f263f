//! Kubernetes with flannel's conventions: the lease of a node is its `spec.podCIDRs`, what it announces stands in its
//! annotations, and the network configuration is a file (a mounted ConfigMap).
//!
//! Nothing is written but the own Node's annotations, its condition `NetworkUnavailable`, and Events about it; and only
//! when it differs from what stands there.

mod assign;
mod bearer;
mod causes;
mod condition;
mod config;
mod connect;
mod credentials;
mod events;
mod follow;
mod keep;
mod network;
mod node;
mod options;
mod own;
mod program;
mod token;
mod versions;

use std::fmt;
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::Patch;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tweed_host::bounded_file::{self, Links, MIB};
use tweed_model::lease::Term;
use tweed_model::{ClusterSnapshot, Lease, SubnetKey, annotations};

use self::assign::assigned;
pub use self::keep::KubeHeld;
use self::network::Network;
use self::node::NodeRecord;
pub use self::options::{KubeOptions, NodeName};
use crate::contact::Contact;
use crate::{Cluster, LeaseStore, NodeReport, OwnRecord, Remote, Request, StoreError};

/// One network in Kubernetes.
#[derive(Clone)]
pub struct KubeStore(Arc<Network>);

impl fmt::Debug for KubeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KubeStore").field(&self.0.options).finish()
    }
}

impl KubeStore {
    /// Touches nothing yet: credentials are read, and connections made, when they are needed.
    pub fn new(options: KubeOptions) -> Self {
        Self(Arc::new(Network::new(options)))
    }
}

impl LeaseStore for KubeStore {
    type Held = KubeHeld;
    type Remote = Self;
    type Cluster = Self;

    async fn config(&self) -> Result<String, StoreError> {
        let file = &self.0.options.config_file;
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
            self.0.options.config_file.display()
        )))
    }

    async fn acquire(&self, request: &Request) -> Result<KubeHeld, StoreError> {
        let network = &self.0;
        let has_subnets = |node: &NodeRecord| assigned(node, &request.pools).is_ok();
        let seen = network.own.read_when(has_subnets).await?;
        let key = match assigned(&seen.node, &request.pools) {
            Ok(key) => key,
            Err(missing) => return Err(network.refuse(&seen, missing).await),
        };
        keep::settle(network, &seen.node, &request.attrs, None).await?;
        Ok(KubeHeld {
            network: Arc::clone(network),
            lease: Lease {
                key,
                attrs: request.attrs.clone(),
                node: Some(seen.node.name()),
                created: seen.node.created(),
                term: Term::Leased,
            },
            wishes: request.wishes,
        })
    }

    /// Takes the annotations from the Node that has this subnet, so that it is no peer any more. The subnet stays the
    /// Node's.
    async fn release(&self, key: &SubnetKey) -> Result<(), StoreError> {
        let prefix = &self.0.options.prefix;
        let families = self.0.families();
        let holds = |node: &&NodeRecord| {
            let lease = node.lease(prefix, &families).ok().flatten();
            lease.is_some_and(|lease| lease.key == *key)
        };
        let nodes = self.0.all().await?;
        let Some(node) = nodes.iter().find(holds) else {
            return Err(StoreError::NotFound(key.to_string()));
        };
        let changes = annotations::removal(prefix, node.annotations());
        let patch = json!({ "metadata": { "uid": node.uid(), "annotations": changes } });
        self.0
            .patch_status(&node.name(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    async fn list(&self) -> Result<ClusterSnapshot, StoreError> {
        let network = &self.0;
        let nodes = network.all().await?;
        let (prefix, listing) = (&network.options.prefix, network.next_listing());
        let mut snapshot = follow::listed(prefix, &network.families(), &nodes, listing);
        snapshot.config = network.config();
        Ok(snapshot)
    }

    async fn follow(&self, out: watch::Sender<Arc<ClusterSnapshot>>, relist: Arc<Notify>) {
        let network = &self.0;
        tokio::select! {
            () = follow::follow(network, &out, &relist) => {}
            never = versions::look_out(&network.servers, &network.versions) => match never {},
        }
    }

    fn contact(&self) -> Contact {
        self.0.servers.contact.clone()
    }

    fn remote(&self) -> Option<&Self> {
        Some(self)
    }

    fn cluster(&self) -> Option<&Self> {
        Some(self)
    }
}

impl Remote for KubeStore {
    async fn servers(&self) -> Vec<String> {
        connect::hosts(&self.0.options).await
    }

    fn redial(&self) {
        self.0.servers.redial();
    }
}

impl Cluster for KubeStore {
    async fn own(&self) -> Result<OwnRecord, StoreError> {
        let node = self.0.own.read().await?.node;
        let prefix = &self.0.options.prefix;
        let wishes = annotations::wishes(prefix, node.annotations());
        for wrong in &wishes.wrong {
            tracing::warn!(node = node.name(), %wrong, "ignored");
        }
        Ok(OwnRecord {
            wishes: wishes.addrs,
            overwrites: annotations::overwrites(prefix, node.annotations()).addrs,
            announced: annotations::parse(prefix, node.annotations())
                .ok()
                .flatten(),
        })
    }

    async fn attend(&self, report: watch::Receiver<NodeReport>) {
        condition::attend(&self.0, report).await;
    }
}
