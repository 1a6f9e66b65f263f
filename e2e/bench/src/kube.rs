//! The agent in a cluster of 5,000 nodes: Node objects as kubelets write them, in a real API server.
//!
//! The objects are put into etcd as the API server stores them, and so is what a kubelet changes every five minutes.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::row::Row;
use crate::{agent, gateway, process};
use tweed_lab::agent::Agent;
use tweed_lab::flannel::Node;
use tweed_lab::kube::ApiServer;
use tweed_lab::launch::{Launch, vxlan};
use tweed_lab::report;
use tweed_lab::topology::Topology;

/// Other nodes in the cluster.
const NODES: usize = 5000;
/// Images that a kubelet lists at the most, which make up most of a Node object.
const IMAGES: usize = 50;
/// How long the agent is watched.
const WATCHED: Duration = Duration::from_secs(60);
/// A kubelet writes its status once in five minutes.
const WRITES_A_SECOND: usize = NODES / 300;
/// The agent's user in the audit log.
const USER: &str = "tweed";

/// Measures.
///
/// # Errors
/// When the cluster or the agent does not come up.
pub fn run() -> Result<Vec<Row>> {
    let lab = Topology::hosts(1).build()?;
    let folder = lab.folder.path();
    let (policy, audit) = (folder.join("audit.yaml"), folder.join("audit.log"));
    let rules = json!([{ "level": "Metadata", "users": [USER] }, { "level": "None" }]);
    let logged = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["ResponseComplete"],
        "rules": rules,
    });
    fs::write(&policy, logged.to_string())?;
    let api = ApiServer::start_with(
        &lab,
        vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", audit.display()),
        ],
    )?;
    let peers = (0..NODES).map(agent::peer).collect::<Result<Vec<_>>>()?;
    for batch in peers.chunks(50) {
        put(&lab, batch, 0)?;
    }
    let host = &lab.hosts[0];
    api.apply(
        &json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": host.name() },
            "spec": { "podCIDR": "10.200.0.0/24", "podCIDRs": ["10.200.0.0/24"] },
        })
        .to_string(),
    )?;
    let mut config = vxlan();
    config["Network"] = "10.0.0.0/8".into();
    let config_file = folder.join("net-conf.json");
    fs::write(&config_file, config.to_string())?;
    let kubeconfig = api.kubeconfig_of(USER, &["system:masters"])?;
    let launch = Launch::kube(&kubeconfig, &config_file)
        .arg(format!("--node-name={}", host.name()))
        .arg("--log-level=info");

    let start = Instant::now();
    let mut agent = Agent::start(&lab, host, &launch)?;
    agent::programmed(host, NODES)?;
    let started = start.elapsed();
    agent.ready()?;
    thread::sleep(Duration::from_secs(3));
    let at_start = Requests::read(&audit)?;
    let (memory, own) = (
        process::memory(agent.pid(), "VmRSS")?,
        process::memory(agent.pid(), "RssAnon")?,
    );

    let before = process::busy_seconds(agent.pid())?;
    let start = Instant::now();
    let mut written = 0;
    for second in 0.. {
        if start.elapsed() >= WATCHED {
            break;
        }
        let from = written % NODES;
        let to = (from + WRITES_A_SECOND).min(NODES);
        put(&lab, &peers[from..to], second)?;
        written += to - from;
        let next = Duration::from_secs(second + 1);
        thread::sleep(next.saturating_sub(start.elapsed()));
    }
    let share =
        100.0 * (process::busy_seconds(agent.pid())? - before) / start.elapsed().as_secs_f64();
    let later = Requests::read(&audit)?;
    let grown = process::memory(agent.pid(), "VmRSS")? - memory;
    Ok(rows(
        started,
        (memory, own, grown),
        share,
        &at_start,
        &later,
    ))
}

fn rows(
    started: Duration,
    (memory, own, grown): (f64, f64, f64),
    share: f64,
    at_start: &Requests,
    later: &Requests,
) -> Vec<Row> {
    let minutes = WATCHED.as_secs_f64() / 60.0;
    let hourly = 60.0 * (later.others - at_start.others) / minutes + later.renewals_an_hour;
    let row = |what: String, ours: String, other: String| Row {
        what,
        ours,
        other,
        ratio: String::new(),
        goal: String::new(),
        met: None,
    };
    vec![
        row(
            format!("Kubernetes, {NODES} nodes: start until the kernel is programmed"),
            report::duration(started),
            format!("{} requests", at_start.all),
        ),
        row(
            format!("Kubernetes, {NODES} nodes: resident memory"),
            format!("{memory:.1} MiB"),
            format!("of it anonymous {own:.1} MiB; {grown:+.1} MiB after a minute"),
        ),
        row(
            format!("Kubernetes, {NODES} nodes: share of a core while kubelets write"),
            format!("{share:.2} %"),
            format!("{WRITES_A_SECOND} changed nodes a second"),
        ),
        row(
            format!("Kubernetes, {NODES} nodes: requests an hour"),
            format!("{hourly:.0}"),
            format!(
                "of them watches that end by their time {:.0}",
                later.renewals_an_hour
            ),
        ),
    ]
}

/// Puts Node objects into etcd.
fn put(lab: &tweed_lab::topology::Lab, peers: &[Node], second: u64) -> Result<()> {
    let entries: Vec<_> = peers
        .iter()
        .map(|peer| {
            let key = format!("/registry/minions/{}", name(peer));
            (key, node(peer, second).to_string())
        })
        .collect();
    gateway::put(lab, &entries)
}

fn name(peer: &Node) -> String {
    format!(
        "node-{}",
        peer.subnet.network().to_string().replace('.', "-")
    )
}

/// A Node object of the usual size, as flannel or Tweed has annotated it.
fn node(peer: &Node, second: u64) -> Value {
    let name = name(peer);
    let heartbeat = format!("2026-01-01T00:{:02}:{:02}Z", second / 60 % 60, second % 60);
    let images: Vec<_> = (0..IMAGES)
        .map(|image| {
            let digest = format!("{image:064x}");
            json!({
                "names": [
                    format!("registry.example.com/team/service-{image}@sha256:{digest}"),
                    format!("registry.example.com/team/service-{image}:v1.2.{image}"),
                ],
                "sizeBytes": 50_000_000 + image,
            })
        })
        .collect();
    let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map(|kind| {
        json!({
            "type": kind,
            "status": if kind == "Ready" { "True" } else { "False" },
            "reason": "KubeletReports",
            "message": "as the kubelet reports it",
            "lastHeartbeatTime": heartbeat,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": format!("00000000-0000-4000-8000-{:012x}", u32::from(peer.subnet.network())),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
            "annotations": {
                "flannel.alpha.coreos.com/backend-data":
                    json!({ "VNI": 1, "VtepMAC": peer.mac }).to_string(),
                "flannel.alpha.coreos.com/backend-type": "vxlan",
                "flannel.alpha.coreos.com/kube-subnet-manager": "true",
                "flannel.alpha.coreos.com/public-ip": peer.public,
            },
        },
        "spec": { "podCIDR": peer.subnet, "podCIDRs": [peer.subnet] },
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": peer.public },
                { "type": "Hostname", "address": name },
            ],
            "conditions": conditions,
            "images": images,
        },
    })
}

/// What the API server was asked, by its audit log.
struct Requests {
    all: usize,
    /// Without watches.
    others: f64,
    /// How often watches come anew because their time is over.
    renewals_an_hour: f64,
}

impl Requests {
    fn read(log: &std::path::Path) -> Result<Self> {
        let text = fs::read_to_string(log)?;
        let mut requests = Self {
            all: 0,
            others: 0.0,
            renewals_an_hour: 0.0,
        };
        for line in text.lines() {
            let event: Value = serde_json::from_str(line)?;
            if event["stage"] != "RequestReceived" {
                continue;
            }
            requests.all += 1;
            if event["verb"] != "watch" {
                requests.others += 1.0;
                continue;
            }
            let uri = event["requestURI"].as_str().context("no address")?;
            let seconds: f64 = uri
                .split(['?', '&'])
                .find_map(|part| part.strip_prefix("timeoutSeconds="))
                .context("a watch without end")?
                .parse()?;
            requests.renewals_an_hour += 3600.0 / seconds;
        }
        Ok(requests)
    }
}
