//! Agents over an API server without kubelets: the Node objects are the test's.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tweed_lab::agent::Agent;
use tweed_lab::cni::{Pod, Runtime};
use tweed_lab::kube::ApiServer;
use tweed_lab::launch::Launch;
use tweed_lab::topology::{Host, Lab};

/// The prefix of flannel's annotations.
pub(crate) const PREFIX: &str = "flannel.alpha.coreos.com";

/// Agents over an API server.
pub(crate) struct Scene<'lab> {
    pub(crate) lab: &'lab Lab,
    pub(crate) agents: Vec<Agent<'lab>>,
    pub(crate) pods: Vec<Pod<'lab>>,
    pub(crate) api: ApiServer<'lab>,
    pub(crate) launch: Launch,
    pub(crate) config: PathBuf,
}

impl<'lab> Scene<'lab> {
    /// The control plane and the network configuration; no node and no agent yet.
    pub(crate) fn start(lab: &'lab Lab, network: &Value) -> Result<Self> {
        let api = ApiServer::start(lab)?;
        // The rights of the manifest, for a user in the place of its service account.
        let rules = include_str!("../../../manifests/kustomize/base/rbac.yaml");
        api.apply("{apiVersion: v1, kind: Namespace, metadata: {name: kube-tweed}}")?;
        api.apply(&rules.replace(
            "  - kind: ServiceAccount\n    name: tweed\n    namespace: kube-tweed",
            "  - kind: User\n    name: tweed",
        ))?;
        let config = lab.folder.path().join("net-conf.json");
        fs::write(&config, network.to_string())?;
        let launch = Launch::kube(&api.kubeconfig_of("tweed", &[])?, &config);
        Ok(Self {
            lab,
            agents: Vec::new(),
            pods: Vec::new(),
            api,
            launch,
            config,
        })
    }

    /// Makes the Node object of a host.
    pub(crate) fn node(&self, name: &str, subnets: &[&str]) -> Result<()> {
        self.api.apply(&node(name, subnets).to_string())
    }

    pub(crate) fn agent(&mut self, host: usize) -> Result<()> {
        let agent = self.start_agent(host, &[])?;
        self.agents.push(agent);
        Ok(())
    }

    /// Ends an agent, does something to its host, and starts it again with these arguments besides; gives the time
    /// until it is ready.
    pub(crate) fn restart(
        &mut self,
        host: usize,
        arguments: &[&str],
        meanwhile: impl FnOnce(&Host) -> Result<()>,
    ) -> Result<Duration> {
        self.agents[host].terminate()?;
        meanwhile(&self.lab.hosts[host])?;
        self.agents[host] = self.start_agent(host, arguments)?;
        self.agents[host].ready()
    }

    fn start_agent(&self, host: usize, arguments: &[&str]) -> Result<Agent<'lab>> {
        let host = &self.lab.hosts[host];
        let launch = self
            .launch
            .clone()
            .arg(format!("--node-name={}", host.name()))
            .arg("--remove-node-taints=example.com/no-network");
        let launch = arguments
            .iter()
            .fold(launch, |launch, word| launch.arg(*word));
        Agent::start(self.lab, host, &launch)
    }

    /// Starts an agent and a pod on every host.
    pub(crate) fn everywhere(&mut self) -> Result<()> {
        for host in 0..self.lab.hosts.len() {
            self.agent(host)?;
        }
        for agent in &mut self.agents {
            agent.ready()?;
        }
        for agent in &self.agents {
            agent.sees(self.lab.hosts.len() - 1)?;
        }
        for host in &self.lab.hosts {
            self.pods.push(Runtime::tweed().pod(host)?);
        }
        Ok(())
    }

    pub(crate) fn annotations(&self, node: &str) -> Result<Value> {
        Ok(self.api.get(&["node", node])?["metadata"]["annotations"].clone())
    }

    pub(crate) fn annotate(&self, node: &str, annotations: &[String]) -> Result<()> {
        let mut words = vec!["annotate", "--overwrite", "node", node];
        words.extend(annotations.iter().map(String::as_str));
        self.api.kubectl(&words).map(drop)
    }

    pub(crate) fn host(&self, index: usize) -> &'lab Host {
        &self.lab.hosts[index]
    }
}

/// A Node object as the kubelet registers it, with the subnets of the controller manager.
pub(crate) fn node(name: &str, subnets: &[&str]) -> Value {
    let mut node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
    if let Some(first) = subnets.first() {
        node["spec"] = json!({ "podCIDR": first, "podCIDRs": subnets });
    }
    node
}
