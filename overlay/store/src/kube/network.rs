//! One network in Kubernetes: the way to it, its Nodes, and what it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::Value;
use tweed_model::{Dual, Pool};

use super::assign::Missing;
use super::config;
use super::connect::{Failure, Servers};
use super::events::{Events, Notice};
use super::node::NodeRecord;
use super::options::KubeOptions;
use super::own::{OwnNode, Seen};
use super::versions::Versions;
use crate::StoreError;

/// Nodes in one page of a list: what of it is decoded at a time bounds the memory.
pub(super) const PAGE: u32 = 200;

pub(super) struct Network {
    pub(super) options: KubeOptions,
    pub(super) servers: Arc<Servers>,
    pub(super) own: OwnNode,
    pub(super) versions: Arc<Versions>,
    events: Events,
    listings: AtomicU64,
}

impl Network {
    pub(super) fn new(options: KubeOptions) -> Self {
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
        }
    }

    pub(super) fn next_listing(&self) -> u64 {
        self.listings.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The raw text of the network configuration, where it can be read.
    pub(super) fn config(&self) -> Option<String> {
        config::read(&self.options.config_file)
    }

    /// The pod networks, where the configuration can be read.
    pub(super) fn pools(&self) -> Dual<Pool> {
        config::pools(self.config().as_deref()).unwrap_or_default()
    }

    pub(super) fn families(&self) -> Dual<()> {
        config::families(self.config().as_deref())
    }

    pub(super) async fn patch(&self, name: &str, patch: &Patch<Value>) -> Result<(), Failure> {
        let api = self.nodes().await?;
        let params = PatchParams::default();
        let request = api.patch(name, &params, patch);
        self.servers
            .call("write the own Node", request)
            .await
            .map(drop)
    }

    pub(super) async fn patch_status(
        &self,
        name: &str,
        patch: &Patch<Value>,
    ) -> Result<(), Failure> {
        let api = self.nodes().await?;
        let params = PatchParams::default();
        let request = api.patch_status(name, &params, patch);
        self.servers
            .call("write the own Node's annotations or status", request)
            .await
            .map(drop)
    }

    pub(super) async fn nodes(&self) -> Result<Api<NodeRecord>, Failure> {
        match self.servers.client().await {
            Ok(client) => Ok(Api::all(client)),
            Err(error) => Err(Failure {
                code: 0,
                text: error.to_string(),
            }),
        }
    }

    /// All nodes, read page by page.
    pub(super) async fn all(&self) -> Result<Vec<NodeRecord>, StoreError> {
        let api = self.nodes().await?;
        let mut nodes = Vec::new();
        let mut token = None;
        loop {
            let mut params = ListParams::default().limit(PAGE);
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
    pub(super) async fn refuse(&self, seen: &Seen, missing: Missing) -> StoreError {
        let found = seen.missing.as_ref();
        let found = found.filter(|found| found.text.starts_with(&missing.text));
        let found = found.unwrap_or(&missing);
        let notice = Notice {
            warning: true,
            reason: found.word,
            action: "AcquireLease",
            note: &found.text,
        };
        self.tell(&seen.node, &notice).await;
        StoreError::Unassigned(found.text.clone())
    }

    pub(super) async fn tell(&self, node: &NodeRecord, notice: &Notice<'_>) {
        if let Ok(client) = self.servers.client().await {
            self.events.tell(client, node, notice).await;
        }
    }
}
