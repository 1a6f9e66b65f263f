//! How agents are started: network configurations, the store's flags, and what a scenario adds.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tweed_model::Family;

use crate::etcd::{Etcd, PREFIX};
use crate::refusal::{Refusal, refuse};
use crate::topology::{Lab, UPLINK};

/// The IPv4 pod network of the lab.
pub const NETWORK: &str = "10.244.0.0/16";
/// The IPv6 pod network of the lab.
pub const NETWORK_V6: &str = "fd00:10:244::/56";

/// A network configuration with the lab's pod networks and this backend. Agents lease subnets below number 200; those
/// above are for peers and entries that a scenario adds by hand.
pub fn config(families: &[Family], backend: &Value) -> Value {
    let mut config = json!({ "Backend": backend });
    if families.contains(&Family::V4) {
        config["Network"] = json!(NETWORK);
        config["SubnetMax"] = json!("10.244.199.0");
    } else {
        config["EnableIPv4"] = json!(false);
    }
    if families.contains(&Family::V6) {
        config["EnableIPv6"] = json!(true);
        config["IPv6Network"] = json!(NETWORK_V6);
        config["IPv6SubnetMax"] = json!("fd00:10:244:c7::");
    }
    config
}

/// IPv4 over VXLAN: what most scenarios need.
pub fn vxlan() -> Value {
    config(&[Family::V4], &json!({ "Type": "vxlan" }))
}

/// Both families over VXLAN.
pub fn vxlan_dual() -> Value {
    config(&Family::BOTH, &json!({ "Type": "vxlan" }))
}

/// How agents are started: the store's flags, and everything a scenario adds.
#[derive(Clone, Debug)]
pub struct Launch {
    store: Vec<String>,
    pub(crate) extra: Vec<String>,
    /// Whether the uplink is left to the agent.
    any_uplink: bool,
    pub(crate) env: Vec<(String, String)>,
    /// Distinguishes several agents on one host: their files, socket and port.
    instance: u16,
    /// The command that starts the agent, if it is not started directly.
    through: Vec<String>,
    /// System calls that the kernel refuses to the agent.
    refusals: Vec<Refusal>,
}

impl Launch {
    /// Agents that share an etcd, at flannel's default prefix.
    pub fn etcd() -> Self {
        Self::etcd_at(PREFIX)
    }

    /// Agents that share an etcd, at this prefix.
    pub fn etcd_at(prefix: &str) -> Self {
        Self::with_store(vec![
            format!("--etcd-endpoints={}", Etcd::endpoint()),
            format!("--etcd-prefix={prefix}"),
        ])
    }

    /// Agents that share the lab's folder.
    pub fn file(lab: &Lab) -> Self {
        Self::file_at(&lab.folder.path().join("store"))
    }

    /// Agents that share this folder.
    pub fn file_at(folder: &Path) -> Self {
        Self::with_store(vec![
            "--store=file".to_owned(),
            format!("--store-dir={}", folder.display()),
        ])
    }

    /// Agents on Kubernetes; each needs `--node-name` too.
    pub fn kube(kubeconfig: &Path, config: &Path) -> Self {
        Self::with_store(vec![
            "--kube-subnet-mgr".to_owned(),
            format!("--kubeconfig-file={}", kubeconfig.display()),
            format!("--net-config-path={}", config.display()),
        ])
    }

    fn with_store(store: Vec<String>) -> Self {
        Self {
            store,
            extra: Vec::new(),
            any_uplink: false,
            env: Vec::new(),
            instance: 0,
            through: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.extra.push(arg.into());
        self
    }

    /// Does not name the uplink: the agent finds it, or an added argument says which.
    #[must_use]
    pub fn any_uplink(mut self) -> Self {
        self.any_uplink = true;
        self
    }

    /// Reaches etcd here instead.
    #[must_use]
    pub fn endpoint(mut self, url: &str) -> Self {
        self.store
            .retain(|arg| !arg.starts_with("--etcd-endpoints="));
        self.store.push(format!("--etcd-endpoints={url}"));
        self
    }

    /// Sets a variable of the agent's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the agent files, a socket and a port of its own, so that it can stand beside another one.
    #[must_use]
    pub fn instance(mut self, number: u16) -> Self {
        self.instance = number;
        self
    }

    /// Starts the agent by another command, which gets the agent's command line as its last arguments and executes it.
    #[must_use]
    pub fn through(mut self, command: &str) -> Self {
        self.through = command.split(' ').map(str::to_owned).collect();
        self
    }

    /// Has the kernel refuse something to the agent.
    #[must_use]
    pub fn refusing(mut self, refusal: Refusal) -> Self {
        self.refusals.push(refusal);
        self
    }

    /// A command that starts this.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = match self.through.split_first() {
            None => Command::new(program),
            Some((first, others)) => {
                let mut command = Command::new(first);
                command.args(others).arg(program);
                command
            }
        };
        refuse(&mut command, &self.refusals);
        command
    }

    /// The store's flags, for operator commands.
    pub fn store_args(&self) -> &[String] {
        &self.store
    }

    /// Writes the network configuration with `tweedd config set`, even where leases become invalid by it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn set_config(&self, lab: &Lab, config: &Value) -> Result<()> {
        let mut command = Command::new(&lab.binaries.tweedd);
        command
            .args(["config", "set", "--yes"])
            .args(&self.store)
            .arg("-");
        let host = lab.hosts.first().context("a lab without hosts")?;
        host.place()
            .cmd_with(&mut command, &config.to_string())
            .map(drop)
    }

    /// Suffix of this instance's file names.
    pub(crate) fn suffix(&self) -> String {
        match self.instance {
            0 => String::new(),
            number => format!("-{number}"),
        }
    }

    /// Port of its HTTP endpoint.
    pub(crate) fn port(&self) -> u16 {
        10_500 + self.instance
    }

    /// Its `subnet.env`.
    pub(crate) fn subnet_file(&self) -> PathBuf {
        PathBuf::from(format!("/run/flannel/subnet{}.env", self.suffix()))
    }

    /// Flags that say where things are on the host.
    pub(crate) fn host_args(&self) -> Vec<String> {
        let suffix = self.suffix();
        let iface = (!self.any_uplink).then(|| format!("--iface={UPLINK}"));
        let paths = [
            format!("--subnet-file={}", self.subnet_file().display()),
            format!("--state-dir=/var/lib/tweed{suffix}"),
            format!("--socket=/run/tweed/tweedd{suffix}.sock"),
        ];
        iface.into_iter().chain(paths).collect()
    }
}
