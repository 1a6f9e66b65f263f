//! This node's own Node object, watched by one task for all that need it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::connect::{Failure, Servers};
use super::node::NodeRecord;
use super::options::NodeName;
use super::versions::Versions;
use crate::StoreError;
use crate::backoff::Backoff;

/// How long the first answer may take before the store counts as out of reach.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// What is known of the own Node.
#[derive(Clone, Debug)]
pub(super) enum Own {
    /// Nothing yet.
    Unread,
    /// The API server can't be reached, or refuses. Says why, and what was known before.
    Unsure(String, Option<Arc<NodeRecord>>),
    /// There is no such Node.
    Absent,
    /// The Node.
    There(Arc<NodeRecord>),
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
        let api: Api<Pod> = Api::namespaced(self.servers.client().await?, namespace);
        let what = format!("read pod {namespace}/{pod} for the name of its node");
        let found = self.servers.call(&what, api.get(pod)).await?;
        let node = found.spec.and_then(|spec| spec.node_name);
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
    pub(super) async fn read(&self) -> Result<Arc<NodeRecord>, StoreError> {
        let mut state = self.subscribe().await?;
        let known = state.wait_for(|own| !matches!(own, Own::Unread));
        let own = match timeout(FIRST_ANSWER, known).await {
            Ok(Ok(own)) => own.clone(),
            Ok(Err(_)) | Err(_) => Own::Unread,
        };
        match own {
            Own::There(node) => Ok(node),
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
}

async fn follow(servers: &Servers, versions: &Versions, name: &str, state: &watch::Sender<Own>) {
    let mut trouble = Backoff::default();
    loop {
        let started = Instant::now();
        let mut dialled = servers.dialled();
        let mut restored = versions.restored();
        let turn = servers.turn();
        let why = match servers.client().await {
            Ok(client) => tokio::select! {
                failure = follow_once(client, versions, name, state) => {
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
/// watch nothing is heard until the Node changes.
async fn follow_once(
    client: kube::Client,
    versions: &Versions,
    name: &str,
    state: &watch::Sender<Own>,
) -> Failure {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = watcher(Api::<NodeRecord>::all(client), only).boxed();
    let mut found = false;
    while let Some(event) = events.next().await {
        if matches!(event, Ok(Event::InitDone)) {
            versions.ask();
        }
        match event {
            Ok(Event::Init) => found = false,
            Ok(Event::InitApply(node) | Event::Apply(node)) => {
                found = true;
                versions.saw(node.resource_version().as_deref());
                state.send_replace(Own::There(Arc::new(node)));
            }
            Ok(Event::InitDone) if found => {}
            Ok(Event::InitDone | Event::Delete(_)) => {
                state.send_replace(Own::Absent);
            }
            Err(error) => return explain("watch the own Node", &error),
        }
    }
    Failure {
        code: 0,
        text: "the watch of the own Node ended".to_owned(),
    }
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
            Own::There(node) => Some(Arc::clone(node)),
            Own::Unsure(before, _) if *before == why => return false,
            Own::Unsure(_, known) => known.take(),
            Own::Absent | Own::Unread => None,
        };
        *own = Own::Unsure(why, known);
        true
    });
}
