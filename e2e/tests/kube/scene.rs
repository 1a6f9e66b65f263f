//! A cluster of three nodes with both address families, on which the manifest has been applied as users do.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use serde_json::Value;
use tweed_lab::cni::Pod;
use tweed_lab::kube::binaries::KubeBinaries;
use tweed_lab::kube::{KubeCluster, dns};
use tweed_lab::launch::{NETWORK, NETWORK_V6};
use tweed_lab::namespace::Place;
use tweed_lab::topology::{Host, Lab};
use tweed_lab::{http, traffic};
use tweed_model::Family;

/// Namespace of the agents.
pub(crate) const NAMESPACE: &str = "kube-tweed";
/// What selects the agents' pods.
pub(crate) const AGENTS: &str = "app.kubernetes.io/name=tweed";

/// The cluster, and a web server on every node.
pub(crate) struct Scene<'lab> {
    pub(crate) lab: &'lab Lab,
    pub(crate) cluster: KubeCluster<'lab>,
    /// In the order of the nodes.
    pub(crate) pods: Vec<Pod<'lab>>,
}

impl<'lab> Scene<'lab> {
    /// Starts nodes, applies the manifest, and starts web servers and DNS.
    pub(crate) fn start(lab: &'lab Lab) -> Result<Self> {
        let start = Instant::now();
        let image = archive()?;
        let cluster = KubeCluster::start(lab, &Family::BOTH, &[image])?;
        println!("control plane and nodes run after {:.1?}", start.elapsed());
        let mut scene = Self {
            lab,
            cluster,
            pods: Vec::new(),
        };
        match scene.install() {
            Ok(()) => Ok(scene),
            Err(error) => Err(error.context(scene.describe())),
        }
    }

    fn install(&mut self) -> Result<()> {
        self.cluster.api.apply(&manifest()?)?;
        let taken = self.cluster.nodes_ready()?;
        println!("all nodes are ready {taken:.1?} after apply");
        self.agents()?;
        self.cluster.api.apply(&dns::objects())?;
        self.pods = self.cluster.web("web")?;
        self.cluster
            .pods_ready("kube-system", "k8s-app=kube-dns", 1)?;
        Ok(())
    }

    /// Waits until an agent is ready on every node and gives the pods in the order of the nodes.
    pub(crate) fn agents(&self) -> Result<Vec<Value>> {
        self.cluster
            .pods_ready(NAMESPACE, AGENTS, self.lab.hosts.len())
    }

    /// Checks that every pod reaches every other in both families.
    pub(crate) fn talks(&self) -> Result<()> {
        for family in Family::BOTH {
            traffic::all_reach_each_other(&self.pods, family)?;
        }
        Ok(())
    }

    /// The annotations of a node that tell the others how to reach it.
    pub(crate) fn annotations(&self, host: &Host) -> Result<Value> {
        let node = self.cluster.api.get(&["node", host.name()])?;
        let all = node["metadata"]["annotations"]
            .as_object()
            .context("no annotations")?;
        let ours = all
            .iter()
            .filter(|(key, _)| key.starts_with("flannel.alpha.coreos.com/"));
        Ok(ours
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    /// The pod subnet of a node.
    pub(crate) fn subnet(&self, host: &Host, family: Family) -> Result<IpNet> {
        let node = self.cluster.api.get(&["node", host.name()])?;
        let subnets = node["spec"]["podCIDRs"].as_array().into_iter().flatten();
        subnets
            .filter_map(|subnet| subnet.as_str()?.parse().ok())
            .find(|subnet| Family::of_net(subnet) == family)
            .with_context(|| format!("{} has no {family} pod subnet", host.name()))
    }

    /// What the agent on a host says of itself.
    pub(crate) fn status(&self, host: &Host) -> Result<Value> {
        let mut tweedd = Command::new(&self.lab.binaries.tweedd);
        tweedd.args(["status", "--output", "json"]);
        let output = host.place().output(&mut tweedd, "")?;
        serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))
    }

    /// What kubectl shows, and the agents' logs.
    pub(crate) fn describe(&self) -> String {
        let words = ["logs", "--namespace", NAMESPACE, "--selector", AGENTS];
        let logs = self
            .cluster
            .api
            .kubectl(&[&words[..], &["--prefix", "--tail=60"]].concat())
            .unwrap_or_else(|error| format!("{error:#}"));
        format!("{}── agents\n{logs}\n", self.cluster.describe())
    }
}

/// Asks the web server of [`Scene::pods`] at this address from a place; gives the client's address as the server saw it,
/// and the server's name.
pub(crate) fn who(from: Place<'_>, server: SocketAddr) -> Result<(IpAddr, String)> {
    let (status, body) = http::get_from(from, server, "/cgi-bin/who")?;
    let (client, name) = body
        .trim()
        .split_once(' ')
        .with_context(|| format!("{server} answered {status}: {body:?}"))?;
    // The server listens on IPv6 and sees IPv4 clients as mapped addresses.
    let client: IpAddr = client.trim_matches(['[', ']']).parse()?;
    Ok((client.to_canonical(), name.to_owned()))
}

/// Waits until a condition of the scene holds for a longer time than usual: kubelet's own pace.
pub(crate) fn in_kubelet_time<T>(what: &str, attempt: impl FnMut() -> Result<T>) -> Result<T> {
    tweed_lab::wait::timed(what, Duration::from_secs(90), attempt).map(|(value, _)| value)
}

/// The real manifest with both pod networks.
pub(crate) fn manifest() -> Result<String> {
    dual(&fs::read_to_string(
        root().join("manifests/kube-tweed.yaml"),
    )?)
}

/// A kustomization beside the manifest, rendered, with both pod networks.
pub(crate) fn kustomized(folder: &str) -> Result<String> {
    let folder = root().join("manifests/kustomize").join(folder);
    let output = Command::new(KubeBinaries::locate()?.kube)
        .args(["kubectl", "kustomize"])
        .arg(folder)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    dual(&String::from_utf8(output.stdout)?)
}

fn dual(text: &str) -> Result<String> {
    let one = format!("\"Network\": \"{NETWORK}\",");
    let both = format!("{one} \"EnableIPv6\": true, \"IPv6Network\": \"{NETWORK_V6}\",");
    ensure!(text.contains(&one), "the manifest's network is another one");
    Ok(text.replace(&one, &both))
}

/// The image under test: `TWEED_IMAGE`, or what `.ci/kube-image` left.
pub(crate) fn archive() -> Result<PathBuf> {
    let path = std::env::var_os("TWEED_IMAGE")
        .map_or_else(|| root().join("target/kube/tweed-image.tar"), PathBuf::from);
    ensure!(
        path.is_file(),
        "{} is not there: run .ci/kube-image, or let make do it",
        path.display()
    );
    Ok(path)
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
}
