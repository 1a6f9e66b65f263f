//! This node's own Node object, watched by one task for all that need it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::assign::{self, Missing};
use super::connect::{Failure, Servers};
use super::node::NodeRecord;
use super::options::NodeName;
use super::versions::Versions;
use crate::StoreError;
use crate::backoff::Backoff;

/// How long a subnet may take to be assigned before it is asked why.
const USUAL_DELAY: Duration = Duration::from_secs(10);
/// How often it is asked.
const EXPLAIN_EVERY: Duration = Duration::from_secs(300);
/// So many other Nodes are looked at for that.
const OTHERS: u32 = 200;
/// Within this time a Node that has just been registered usually has a subnet.
const MOMENT: Duration = Duration::from_secs(2);
/// How long the first answer may take before the store counts as out of reach.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// What is known of the own Node.
#[derive(Clone, Debug)]
pub(super) enum Own {
    /// Nothing yet.
    Unread,
    /// The API server can't be reached, or refuses. Says why, and what was known before.
    Unsure(String, Option<Seen>),
    /// There is no such Node.
    Absent,
    /// The Node.
    There(Seen),
}

/// The Node, and why it has no subnet, once that was looked into.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) node: Arc<NodeRecord>,
    pub(super) missing: Option<Missing>,
}

/// The watch, begun when somebody first asks.
pub(super) struct OwnNode {
    servers: Arc<Servers>,
    versions: Arc<Versions>,
    who: NodeName,
    name: OnceCell<String>,
    state: watch::Sender<Own>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for OwnNode {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task.take() {
            task.abort();
        }
    }
}

impl OwnNode {
    pub(super) fn new((servers, versions): (Arc<Servers>, Arc<Versions>), who: NodeName) -> Self {
        Self {
            servers,
            versions,
            who,
            name: OnceCell::new(),
            state: watch::Sender::new(Own::Unread),
            task: Mutex::default(),
        }
    }

    /// The node's name.
    ///
    /// # Errors
    /// If nobody said it, or the pod that runs on it can't be read.
    pub(super) async fn name(&self) -> Result<&str, StoreError> {
        let name = self.name.get_or_try_init(|| async {
            match &self.who {
                NodeName::Known(name) => Ok(name.clone()),
                NodeName::OfPod { namespace, pod } => self.of_pod(namespace, pod).await,
                NodeName::Unknown => Err(StoreError::Refused(
                    "which Node this is isn't known: set NODE_NAME from the field spec.nodeName, or POD_NAME and \
                     POD_NAMESPACE, or give --node-name"
                        .to_owned(),
                )),
            }
        });
        name.await.map(String::as_str)
    }

    async fn of_pod(&self, namespace: &str, pod: &str) -> Result<String, StoreError> {
        // Taken as a value: to decode a whole Pod is some hundred kilobytes of program.
        let pods = ApiResource::erase::<Pod>(&());
        let client = self.servers.client().await?;
        let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, &pods);
        let what = format!("read pod {namespace}/{pod} for the name of its node");
        let found = self.servers.call(&what, api.get(pod)).await?;
        let node = found.data.pointer("/spec/nodeName").and_then(Value::as_str);
        let node = node.map(str::to_owned);
        node.ok_or_else(|| StoreError::Unavailable(format!("{what}: it has none yet")))
    }

    /// Follows the Node.
    pub(super) async fn subscribe(&self) -> Result<watch::Receiver<Own>, StoreError> {
        let name = self.name().await?.to_owned();
        self.servers.client().await?;
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.is_none() {
            let (servers, state) = (Arc::clone(&self.servers), self.state.clone());
            let versions = Arc::clone(&self.versions);
            *task = Some(tokio::spawn(async move {
                follow(&servers, &versions, &name, &state).await
            }));
        }
        Ok(self.state.subscribe())
    }

    /// The Node as it is known now.
    ///
    /// # Errors
    /// If the API server can't be reached, or there is no such Node.
    pub(super) async fn read(&self) -> Result<Seen, StoreError> {
        let mut state = self.subscribe().await?;
        let known = state.wait_for(|own| !matches!(own, Own::Unread));
        let own = match timeout(FIRST_ANSWER, known).await {
            Ok(Ok(own)) => own.clone(),
            Ok(Err(_)) | Err(_) => Own::Unread,
        };
        match own {
            Own::There(seen) => Ok(seen),
            Own::Absent => Err(StoreError::Unassigned(format!(
                "there is no Node {} in Kubernetes: the kubelet has not registered it yet, or it was deleted",
                self.name().await?
            ))),
            Own::Unsure(why, _) => Err(StoreError::Unavailable(why)),
            Own::Unread => Err(StoreError::Unavailable(format!(
                "the API server didn't answer within {FIRST_ANSWER:?}"
            ))),
        }
    }

    /// The Node once it is as wanted; as it is, if it isn't a moment later.
    ///
    /// # Errors
    /// As for [`OwnNode::read`].
    pub(super) async fn read_when(
        &self,
        wanted: impl Fn(&NodeRecord) -> bool,
    ) -> Result<Seen, StoreError> {
        let seen = self.read().await?;
        if wanted(&seen.node) {
            return Ok(seen);
        }
        let mut state = self.subscribe().await?;
        let news = state.wait_for(|own| match own {
            Own::There(seen) => wanted(&seen.node),
            Own::Unread | Own::Absent | Own::Unsure(..) => true,
        });
        // Ends either way.
        drop(timeout(MOMENT, news).await);
        self.read().await
    }
}

async fn follow(servers: &Servers, versions: &Versions, name: &str, state: &watch::Sender<Own>) {
    let mut trouble = Backoff::default();
    let mut absence = None;
    loop {
        let started = Instant::now();
        let mut dialled = servers.dialled();
        let mut restored = versions.restored();
        let turn = servers.turn();
        let why = match servers.client().await {
            Ok(client) => tokio::select! {
                failure = follow_once(client, versions, name, (state, &mut absence)) => {
                    if failure.code == 0 {
                        servers.failed(turn);
                    }
                    failure.text
                }
                _ = dialled.changed() => continue,
                _ = restored.changed() => continue,
            },
            Err(error) => error.to_string(),
        };
        unsure(state, why);
        trouble.reset_after(started.elapsed());
        sleep(trouble.next()).await;
    }
}

/// Watches until something fails. The Node is read again then, so that it is known when all is well again: of a resumed
/// watch nothing comes until the Node changes.
async fn follow_once(
    client: kube::Client,
    versions: &Versions,
    name: &str,
    (state, absence): (&watch::Sender<Own>, &mut Option<Absence>),
) -> Failure {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let nodes = Api::<NodeRecord>::all(client);
    let mut events = watcher(nodes.clone(), only).boxed();
    let mut found = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            missing = explained(&nodes, absence.as_ref()) => {
                if let Some(absence) = absence {
                    absence.due = Instant::now() + EXPLAIN_EVERY;
                    absence.seen.missing = missing.or(absence.seen.missing.take());
                    state.send_replace(Own::There(absence.seen.clone()));
                }
                continue;
            }
        };
        if matches!(event, Some(Ok(Event::InitDone))) {
            versions.ask();
        }
        match event {
            Some(Ok(Event::Init)) => found = false,
            Some(Ok(Event::InitApply(node) | Event::Apply(node))) => {
                found = true;
                versions.saw(node.resource_version().as_deref());
                state.send_replace(Own::There(see(node, absence)));
            }
            Some(Ok(Event::InitDone)) if found => {}
            Some(Ok(Event::InitDone | Event::Delete(_))) => {
                *absence = None;
                state.send_replace(Own::Absent);
            }
            Some(Err(error)) => return explain("watch the own Node", &error),
            None => {
                return Failure {
                    code: 0,
                    text: "the watch of the own Node ended".to_owned(),
                };
            }
        }
    }
}

/// A Node without a subnet, and when it is to be looked into.
struct Absence {
    seen: Seen,
    due: Instant,
}

/// A Node that has come; what was found out about its subnet stays with it as long as it has none.
fn see(node: NodeRecord, absence: &mut Option<Absence>) -> Seen {
    let mut seen = Seen {
        node: Arc::new(node),
        missing: None,
    };
    if !seen.node.pod_cidrs.is_empty() {
        *absence = None;
        return seen;
    }
    let before = absence.take();
    let due = before.as_ref().map(|before| before.due);
    seen.missing = before.and_then(|before| before.seen.missing);
    *absence = Some(Absence {
        seen: seen.clone(),
        due: due.unwrap_or_else(|| Instant::now() + USUAL_DELAY),
    });
    seen
}

/// Why a Node has no subnet, from a look at the others, when that is due.
async fn explained(nodes: &Api<NodeRecord>, absence: Option<&Absence>) -> Option<Missing> {
    let Some(Absence { seen, due }) = absence else {
        return std::future::pending().await;
    };
    sleep_until(*due).await;
    let first = ListParams::default().limit(OTHERS);
    let page = timeout(FIRST_ANSWER, nodes.list(&first)).await.ok()?.ok()?;
    let more = page.metadata.remaining_item_count.unwrap_or(0);
    let missing = assign::none(&seen.node);
    Some(assign::explain(
        missing,
        &seen.node.name(),
        &page.items,
        more,
    ))
}

/// What went wrong with a watch.
pub(super) fn explain(what: &str, error: &watcher::Error) -> Failure {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Failure::of(what, error),
        watcher::Error::WatchError(status) => Failure::answered(what, status),
        other => Failure::unanswered(what, other),
    }
}

fn unsure(state: &watch::Sender<Own>, why: String) {
    state.send_if_modified(|own| {
        let known = match own {
            Own::There(seen) => Some(seen.clone()),
            Own::Unsure(before, _) if *before == why => return false,
            Own::Unsure(_, known) => known.take(),
            Own::Absent | Own::Unread => None,
        };
        *own = Own::Unsure(why, known);
        true
    });
}
