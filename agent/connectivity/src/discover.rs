//! The responders of a cluster, as the API server knows them: the pods of the namespace in which the test itself runs.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, Client, Config};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tweed_model::Family;

use super::plan::{Cluster, Endpoint, Side};

/// What selects the responders' DaemonSets, pods and service.
const LABELS: &str =
    "app.kubernetes.io/name=tweed-connectivity,app.kubernetes.io/component=responder";
/// How often the pods are looked at while they come.
const LOOK: Duration = Duration::from_secs(1);
/// Time for one request.
const REQUEST: Duration = Duration::from_secs(15);

/// Finds the responders, and waits at most this long until all of them are ready.
///
/// # Errors
/// If this is no pod of the test, or the API server doesn't answer.
pub async fn in_cluster(limit: Duration) -> Result<Cluster> {
    let mut config = Config::incluster().context(
        "this is no pod with a service account: apply manifests/connectivity.yaml, or name the responders by --host and --pod",
    )?;
    config.connect_timeout = Some(REQUEST);
    config.read_timeout = Some(REQUEST);
    let place = format!(
        "ask the API server at {} from this pod (if it doesn't answer: see to kube-proxy and to the network of this node)",
        config.cluster_url
    );
    let client = Client::try_from(config).context("API server")?;
    let deadline = Instant::now() + limit;
    loop {
        // Rights, too, are there a moment after they were applied.
        let seen = Lists::read(&client).await.map(|lists| lists.cluster());
        let done = matches!(&seen, Ok((_, true))) || Instant::now() >= deadline;
        if done {
            return seen.map(|(cluster, _)| cluster).context(place);
        }
        sleep(LOOK).await;
    }
}

struct Lists {
    sets: Vec<Value>,
    pods: Vec<Value>,
    services: Vec<Value>,
}

impl Lists {
    async fn read(client: &Client) -> Result<Self> {
        Ok(Self {
            sets: list(client, "apps", "DaemonSet").await?,
            pods: list(client, "", "Pod").await?,
            services: list(client, "", "Service").await?,
        })
    }

    /// The responders, and whether they are complete.
    fn cluster(&self) -> (Cluster, bool) {
        let cluster = cluster(&self.sets, &self.pods, &self.services);
        let complete = complete(&self.sets) && cluster.missing.is_empty();
        let complete = complete && !cluster.endpoints.is_empty();
        (cluster, complete)
    }
}

async fn list(client: &Client, group: &str, kind: &str) -> Result<Vec<Value>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), client.default_namespace(), &resource);
    let params = ListParams::default().labels(LABELS);
    let what = || format!("list objects of kind {kind}");
    let list = api.list(&params).await.with_context(what)?;
    let objects = list.items.iter().map(serde_json::to_value);
    objects.collect::<Result<_, _>>().with_context(what)
}

/// Whether the controller has made a pod for each node.
fn complete(sets: &[Value]) -> bool {
    !sets.is_empty()
        && sets.iter().all(|set| {
            let number = |field: &str| set["status"][field].as_u64().unwrap_or(0);
            let seen = number("observedGeneration");
            let wanted = number("desiredNumberScheduled");
            let current = set["metadata"]["generation"].as_u64() == Some(seen);
            current && wanted > 0 && number("numberReady") >= wanted
        })
}

fn cluster(sets: &[Value], pods: &[Value], services: &[Value]) -> Cluster {
    let mut cluster = Cluster::default();
    for pod in pods.iter().filter(|pod| is_current(pod)) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let side = match pod["spec"]["hostNetwork"].as_bool() {
            Some(true) => Side::Node,
            _ => Side::Pod,
        };
        let node = text(&pod["spec"]["nodeName"]);
        match not_ready(pod) {
            Some(reason) => cluster.missing.push((node, side, reason)),
            None => cluster.endpoints.push(Endpoint {
                node,
                side,
                name: Some(text(&pod["metadata"]["name"])),
                addrs: addresses(pod["status"]["podIPs"].as_array(), "ip"),
            }),
        }
    }
    for set in sets {
        let number = |field: &str| set["status"][field].as_u64().unwrap_or(0);
        let (wanted, made) = ("desiredNumberScheduled", "currentNumberScheduled");
        if number(wanted) > number(made) {
            let name = set["metadata"]["name"].as_str().unwrap_or_default();
            let count = number(wanted) - number(made);
            let reason = format!("DaemonSet {name} lacks {count} pods");
            cluster
                .missing
                .push(("some nodes".to_owned(), Side::Node, reason));
        }
    }
    if let Some(service) = services.first() {
        let name = |field: &str| service["metadata"][field].as_str().unwrap_or_default();
        cluster.name = Some(format!("{}.{}", name("name"), name("namespace")));
        let addrs = service["spec"]["clusterIPs"].as_array().into_iter();
        cluster.services = addrs
            .flatten()
            .filter_map(|addr| addr.as_str()?.parse().ok())
            .collect();
    }
    cluster
        .endpoints
        .sort_by(|a, b| (&a.node, a.side).cmp(&(&b.node, b.side)));
    cluster
}

/// Not one that is on its way out.
fn is_current(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
        && !matches!(
            pod["status"]["phase"].as_str(),
            Some("Failed" | "Succeeded")
        )
}

/// Why a pod isn't ready, in Kubernetes' words.
fn not_ready(pod: &Value) -> Option<String> {
    let status = &pod["status"];
    let conditions = status["conditions"].as_array();
    let find = |kind: &str| {
        let mut all = conditions.into_iter().flatten();
        all.find(|condition| condition["type"] == kind)
    };
    if find("Ready").is_some_and(|ready| ready["status"] == "True") {
        return None;
    }
    let container = &status["containerStatuses"][0]["state"]["waiting"];
    let unscheduled = find("PodScheduled").filter(|condition| condition["status"] == "False");
    let place = unscheduled.unwrap_or(container);
    let word = |field: &str| place[field].as_str();
    let phase = status["phase"].as_str().unwrap_or("without a status");
    Some(match (word("reason"), word("message")) {
        (Some(reason), Some(message)) => format!("{phase}: {reason}: {message}"),
        (Some(reason), None) => format!("{phase}: {reason}"),
        _ => format!("{phase}, not ready"),
    })
}

/// The first address of each family.
fn addresses(list: Option<&Vec<Value>>, field: &str) -> Vec<IpAddr> {
    let all: Vec<IpAddr> = list
        .into_iter()
        .flatten()
        .filter_map(|entry| entry[field].as_str()?.parse().ok())
        .collect();
    let first = |family| all.iter().find(|addr| Family::of(addr) == family).copied();
    Family::BOTH.into_iter().filter_map(first).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, host: bool, ready: &str) -> Value {
        json!({
            "metadata": { "name": name },
            "spec": { "nodeName": node, "hostNetwork": host },
            "status": {
                "phase": "Running",
                "podIPs": [{ "ip": "10.244.1.2" }, { "ip": "fd00::2" }],
                "conditions": [{ "type": "Ready", "status": ready }],
            },
        })
    }

    #[test]
    fn pods_become_responders_and_those_that_are_not_ready_are_named_with_the_reason() {
        let mut waiting = pod("c", "node2", false, "False");
        waiting["status"]["phase"] = "Pending".into();
        waiting["status"]["containerStatuses"] = json!([{ "state": { "waiting": { "reason": "ErrImageNeverPull", "message": "no image" } } }]);
        let mut gone = pod("d", "node2", false, "True");
        gone["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
        let pods = [
            pod("b", "node1", true, "True"),
            pod("a", "node1", false, "True"),
            waiting,
            gone,
        ];
        let service = json!({
            "metadata": { "name": "connectivity", "namespace": "ns" },
            "spec": { "clusterIPs": ["10.96.0.7"] },
        });
        let cluster = cluster(&[], &pods, &[service]);
        let found: Vec<_> = cluster
            .endpoints
            .iter()
            .map(|e| (e.node.as_str(), e.side, e.addrs.len()))
            .collect();
        assert_eq!(found, [("node1", Side::Pod, 2), ("node1", Side::Node, 2)]);
        let reason = "Pending: ErrImageNeverPull: no image".to_owned();
        assert_eq!(cluster.missing, [("node2".to_owned(), Side::Pod, reason)]);
        assert_eq!(cluster.name.as_deref(), Some("connectivity.ns"));
        assert_eq!(cluster.services.len(), 1);
    }

    #[test]
    fn a_daemon_set_is_complete_when_its_controller_has_seen_it_and_all_pods_are_ready() {
        let set = |observed: u64, wanted: u64, ready: u64| {
            json!({
                "metadata": { "name": "pods", "generation": 2 },
                "status": { "observedGeneration": observed, "desiredNumberScheduled": wanted,
                            "currentNumberScheduled": ready, "numberReady": ready },
            })
        };
        assert!(complete(&[set(2, 3, 3)]));
        for wrong in [
            vec![],
            vec![set(1, 3, 3)],
            vec![set(2, 3, 2)],
            vec![set(2, 0, 0)],
        ] {
            assert!(!complete(&wrong), "{wrong:?}");
        }
        let cluster = cluster(&[set(2, 3, 2)], &[], &[]);
        assert!(cluster.missing[0].2.contains("lacks 1 pods"), "{cluster:?}");
    }
}
