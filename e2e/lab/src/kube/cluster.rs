//! A whole cluster on a lab: control plane, a node on every host, and what scenarios ask it about its pods.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tweed_model::Family;

use crate::cni;
use crate::kube::control::{ApiServer, Controllers};
use crate::kube::image::BUSYBOX;
use crate::kube::node::{Node, NodeOptions};
use crate::topology::{Host, Lab};
use crate::wait::timed;

/// Long enough for pods on a busy machine.
pub const STARTS: Duration = Duration::from_secs(90);

/// A running cluster. Fields drop in this order: nodes before the control plane.
#[derive(Debug)]
pub struct KubeCluster<'lab> {
    /// One on every host, in the order of the hosts.
    pub nodes: Vec<Node<'lab>>,
    /// The control plane.
    pub api: ApiServer<'lab>,
    /// Address families of nodes and pods.
    pub families: Vec<Family>,
}

impl<'lab> KubeCluster<'lab> {
    /// Starts the control plane with allocation of pod subnets, and a node on every host. Without a pod network, nodes
    /// are not ready.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn start(lab: &'lab Lab, families: &[Family], images: &[PathBuf]) -> Result<Self> {
        let mut api = ApiServer::start(lab)?;
        api.run_controllers(&match families {
            [Family::V4] => Controllers::default(),
            _ => Controllers::dual(),
        })?;
        api.run_scheduler()?;
        let mut cluster = Self {
            nodes: Vec::new(),
            api,
            families: families.to_vec(),
        };
        for host in &lab.hosts {
            let options = NodeOptions {
                families: families.to_vec(),
                images: images.to_vec(),
                ..NodeOptions::default()
            };
            cluster
                .nodes
                .push(Node::start(&cluster.api, host, options)?);
        }
        Ok(cluster)
    }

    /// Waits until every node is ready, and gives the time that took.
    ///
    /// # Errors
    /// Names those that are not.
    pub fn nodes_ready(&self) -> Result<Duration> {
        let all = self.nodes.len();
        let ((), taken) = timed("all nodes are ready", STARTS, || {
            let list = self.api.get(&["nodes"])?;
            let ready = items(&list).filter(|node| is_ready(node)).count();
            ensure!(ready == all, "{ready} of {all}: {}", conditions(&list));
            Ok(())
        })?;
        Ok(taken)
    }

    /// Waits until this many pods with a label (`app=web`) in a namespace are ready and none else is there; gives them
    /// in the order of the nodes.
    ///
    /// # Errors
    /// Says how far they came.
    pub fn pods_ready(&self, namespace: &str, label: &str, count: usize) -> Result<Vec<Value>> {
        let what = format!("{count} pods {label} are ready");
        let (pods, _) = timed(&what, STARTS, || {
            let list = self
                .api
                .get(&["pods", "--namespace", namespace, "--selector", label])?;
            let pods: Vec<_> = items(&list).cloned().collect();
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            ensure!(
                ready == count && pods.len() == count,
                "{ready} of {}: {}",
                pods.len(),
                conditions(&list)
            );
            Ok(pods)
        })?;
        let mut pods = pods;
        pods.sort_by_key(|pod| pod["spec"]["nodeName"].to_string());
        Ok(pods)
    }

    /// Makes a busybox web server on every node (a DaemonSet of this name) and gives the pods, as traffic takes them.
    ///
    /// # Errors
    /// When they do not get ready.
    pub fn web(&self, name: &str) -> Result<Vec<cni::Pod<'lab>>> {
        self.api.apply(&web(name).to_string())?;
        let pods = self.pods_ready("default", &format!("app={name}"), self.nodes.len())?;
        pods.iter().map(|pod| self.place_of(pod)).collect()
    }

    /// A pod with a network of its own, as traffic takes it: its network namespace is the one that has its address.
    ///
    /// # Errors
    /// When there is none.
    pub fn place_of(&self, pod: &Value) -> Result<cni::Pod<'lab>> {
        let node = pod["spec"]["nodeName"].as_str().context("not scheduled")?;
        let host = self.host(node)?;
        let addrs: Vec<_> = pod["status"]["podIPs"]
            .as_array()
            .context("no addresses")?
            .iter()
            .filter_map(|entry| entry["ip"].as_str())
            .collect();
        let first = addrs.first().context("no address")?;
        let netns = host
            .sh("ls /run/netns")?
            .split_whitespace()
            .find(|netns| {
                host.sh(&format!("ip -n {netns} -o addr show"))
                    .is_ok_and(|text| text.contains(&format!(" {first}/")))
            })
            .with_context(|| format!("no network namespace on {node} has {first}"))?
            .to_owned();
        let ips: Vec<_> = addrs
            .iter()
            .map(|addr| json!({ "address": format!("{addr}/{}", if addr.contains(':') { 64 } else { 24 }) }))
            .collect();
        Ok(cni::Pod {
            host,
            netns,
            id: pod["metadata"]["name"]
                .as_str()
                .context("no name")?
                .to_owned(),
            result: json!({ "ips": ips }),
        })
    }

    /// The host of a node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn host(&self, name: &str) -> Result<&'lab Host> {
        self.nodes
            .iter()
            .map(Node::host)
            .find(|host| host.name() == name)
            .with_context(|| format!("there is no node {name}"))
    }

    /// What kubectl shows of nodes, pods and events, for a failing scenario.
    pub fn describe(&self) -> String {
        let commands: [&[&str]; 3] = [
            &["get", "nodes", "--output=wide"],
            &["get", "pods", "--all-namespaces", "--output=wide"],
            &[
                "get",
                "events",
                "--all-namespaces",
                "--sort-by=.lastTimestamp",
            ],
        ];
        let mut text = String::new();
        for words in commands {
            let output = self
                .api
                .kubectl(words)
                .unwrap_or_else(|error| format!("{error:#}\n"));
            text += &format!("── kubectl {}\n{output}", words.join(" "));
        }
        text
    }
}

/// A DaemonSet that serves `/cgi-bin/who` (client's address and server's name) on port 8080.
fn web(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "web",
                        "image": BUSYBOX,
                        "imagePullPolicy": "Never",
                        "command": ["/bin/httpd", "-f", "-v", "-p", "8080", "-h", "/www"],
                        "readinessProbe": { "tcpSocket": { "port": 8080 }, "periodSeconds": 1 },
                    }],
                },
            },
        },
    })
}

/// The objects of a list.
pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

/// Whether a node or pod has condition Ready.
pub fn is_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|condition| condition["status"] == "True")
}

/// A condition of a node or pod.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)
}

fn conditions(list: &Value) -> String {
    let lines: Vec<_> = items(list)
        .map(|object| {
            let ready = condition(object, "Ready");
            let message = ready.map_or(&Value::Null, |ready| &ready["message"]);
            format!(
                "{}: {} {message}",
                object["metadata"]["name"], object["status"]["phase"]
            )
        })
        .collect();
    lines.join("; ")
}
