//! A minimal container runtime: pods are network namespaces, attached by running a list of CNI plugins as the
//! specification says, each with the previous one's result.

use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde_json::{Value, json};
use tweed_model::{Dual, Family};

use crate::namespace::Place;
use crate::topology::Host;

/// Where Debian's containernetworking-plugins puts the Go plugins.
pub const GO_PLUGINS: &str = "/usr/lib/cni";
/// Where the lab puts ours.
pub const OUR_PLUGINS: &str = "/opt/cni/bin";

/// A network configuration list and where its plugins are.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Name of the network.
    pub name: String,
    /// Version that the configuration asks for.
    pub cni_version: String,
    /// The plugins' configurations.
    pub plugins: Vec<Value>,
    /// Folders with plugins, searched in this order.
    pub path: Vec<String>,
}

/// A plugin's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether it ended with 0.
    pub success: bool,
    /// Output as JSON, or null.
    pub output: Value,
    /// Standard error.
    pub stderr: String,
}

/// A network namespace on a host.
#[derive(Debug)]
pub struct Pod<'lab> {
    /// Host on which the runtime works.
    pub host: &'lab Host,
    /// Name of the namespace under `/run/netns`.
    pub netns: String,
    /// Container id.
    pub id: String,
    /// Result of the last ADD, the CNI result as the last plugin printed it.
    pub result: Value,
}

impl Runtime {
    /// Pods attached by the `tweed` plugin, as a cluster's conflist has it.
    pub fn tweed() -> Self {
        Self::single(json!({
            "type": "tweed",
            "delegate": { "hairpinMode": true, "isDefaultGateway": true }
        }))
    }

    /// Pods without a bridge, attached by one entry that does all.
    pub fn routed() -> Self {
        Self::single(json!({ "type": "tweed", "mode": "routed" }))
    }

    /// Pods attached by one plugin with this configuration, from the lab's folder of plugins.
    pub fn single(plugin: Value) -> Self {
        Self {
            name: "cbr0".to_owned(),
            cni_version: "1.0.0".to_owned(),
            plugins: vec![plugin],
            path: vec![OUR_PLUGINS.to_owned(), GO_PLUGINS.to_owned()],
        }
    }

    /// Makes a pod and attaches it as `eth0`.
    ///
    /// # Errors
    /// When a plugin fails; its error message is part of ours.
    pub fn pod<'lab>(&self, host: &'lab Host) -> Result<Pod<'lab>> {
        let mut pod = Pod::new(host)?;
        pod.result = self.add(&pod, "eth0")?;
        Ok(pod)
    }

    /// A pod on each of these hosts.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn pods<'lab>(&self, hosts: &'lab [Host]) -> Result<Vec<Pod<'lab>>> {
        hosts.iter().map(|host| self.pod(host)).collect()
    }

    /// ADD: runs all plugins, keeps the result as runtimes do. A failure is followed by DEL, as runtimes do.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn add(&self, pod: &Pod<'_>, ifname: &str) -> Result<Value> {
        let mut previous = Value::Null;
        for plugin in &self.plugins {
            let answer = self.call("ADD", plugin, pod, ifname, &previous)?;
            if !answer.success {
                let undone = self.del(pod, ifname);
                bail!(
                    "ADD of {plugin} failed: {} {}{}",
                    answer.output,
                    answer.stderr,
                    undone
                        .err()
                        .map_or(String::new(), |e| format!(", DEL too: {e:#}"))
                );
            }
            previous = answer.output;
        }
        let cache = pod.host.path(self.cache(pod, ifname));
        fs::create_dir_all(cache.parent().context("a cache path has a folder")?)?;
        let kept = self.cached(pod, ifname, &previous);
        fs::write(cache, kept.to_string())?;
        Ok(previous)
    }

    /// DEL: runs all plugins backwards with the kept result.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn del(&self, pod: &Pod<'_>, ifname: &str) -> Result<()> {
        let previous = self.kept(pod, ifname);
        for plugin in self.plugins.iter().rev() {
            let answer = self.call("DEL", plugin, pod, ifname, &previous)?;
            if !answer.success {
                bail!(
                    "DEL of {plugin} failed: {} {}",
                    answer.output,
                    answer.stderr
                );
            }
        }
        // A pod whose ADD failed has no kept result.
        let _ = fs::remove_file(pod.host.path(self.cache(pod, ifname)));
        Ok(())
    }

    /// CHECK: runs all plugins with the kept result.
    ///
    /// # Errors
    /// When a plugin finds something wrong.
    pub fn check(&self, pod: &Pod<'_>, ifname: &str) -> Result<()> {
        let previous = self.kept(pod, ifname);
        for plugin in &self.plugins {
            let answer = self.call("CHECK", plugin, pod, ifname, &previous)?;
            if !answer.success {
                bail!("CHECK of {plugin}: {} {}", answer.output, answer.stderr);
            }
        }
        Ok(())
    }

    /// Runs one plugin.
    ///
    /// # Errors
    /// When it isn't there or prints something that isn't JSON.
    pub fn call(
        &self,
        verb: &str,
        plugin: &Value,
        pod: &Pod<'_>,
        ifname: &str,
        previous: &Value,
    ) -> Result<Answer> {
        let kind = plugin["type"].as_str().context("a plugin has a type")?;
        let binary = self
            .path
            .iter()
            .map(|folder| format!("{folder}/{kind}"))
            .find(|path| fs::symlink_metadata(pod.host.path(path)).is_ok())
            .with_context(|| format!("no plugin {kind} in {:?}", self.path))?;
        let mut config = plugin.clone();
        config["cniVersion"] = json!(self.cni_version);
        config["name"] = json!(self.name);
        if !previous.is_null() {
            config["prevResult"] = previous.clone();
        }
        let mut command = Command::new(binary);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &pod.id)
            .env("CNI_NETNS", format!("/run/netns/{}", pod.netns))
            .env("CNI_IFNAME", ifname)
            .env("CNI_PATH", self.path.join(":"));
        let output = pod.host.place().output(&mut command, &config.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(Answer {
            success: output.status.success(),
            output: match text.trim() {
                "" => Value::Null,
                text => serde_json::from_str(text)
                    .with_context(|| format!("{verb} of {kind} printed {text:?}"))?,
            },
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn cache(&self, pod: &Pod<'_>, ifname: &str) -> String {
        format!("/var/lib/cni/results/{}-{}-{ifname}", self.name, pod.id)
    }

    /// The file that the runtimes' library keeps of an attachment.
    fn cached(&self, pod: &Pod<'_>, ifname: &str, result: &Value) -> Value {
        let list =
            json!({ "cniVersion": self.cni_version, "name": self.name, "plugins": self.plugins });
        json!({
            "kind": "cniCacheV1",
            "containerId": pod.id,
            "config": base64(list.to_string().as_bytes()),
            "ifName": ifname,
            "networkName": self.name,
            "netns": format!("/run/netns/{}", pod.netns),
            "result": result,
        })
    }

    fn kept(&self, pod: &Pod<'_>, ifname: &str) -> Value {
        fs::read_to_string(pod.host.path(self.cache(pod, ifname)))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .map_or(Value::Null, |mut kept: Value| kept["result"].take())
    }
}

impl<'lab> Pod<'lab> {
    /// Makes a namespace that is attached to nothing.
    ///
    /// # Errors
    /// When `ip netns` fails.
    pub fn new(host: &'lab Host) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(1);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let netns = format!("pod{number}");
        host.sh(&format!("ip netns add {netns}"))?;
        let pod = Self {
            host,
            id: format!("{number:064x}"),
            netns,
            result: Value::Null,
        };
        pod.place().sh("ip link set lo up")?;
        Ok(pod)
    }

    /// The pod as a place to run things.
    pub fn place(&self) -> Place<'_> {
        self.host.ns().pod(&self.netns)
    }

    /// Removes the namespace, as when the container is gone before DEL.
    ///
    /// # Errors
    /// When `ip netns` fails.
    pub fn remove_netns(&self) -> Result<()> {
        self.host
            .sh(&format!("ip netns del {}", self.netns))
            .map(drop)
    }

    /// The addresses of the last ADD.
    ///
    /// # Errors
    /// When the result has none that can be read.
    pub fn addrs(&self) -> Result<Dual<IpAddr>> {
        addrs(&self.result)
    }

    /// The address of one family.
    ///
    /// # Errors
    /// When the result has none.
    pub fn addr(&self, family: Family) -> Result<IpAddr> {
        let addr = self.addrs()?.get(family).copied();
        addr.with_context(|| format!("{} has no {family} address: {}", self.netns, self.result))
    }

    /// The IPv4 address.
    ///
    /// # Errors
    /// When the result has none.
    pub fn v4(&self) -> Result<IpAddr> {
        self.addr(Family::V4)
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let all = three.iter().chain(&[0, 0]).take(3);
        let number = all.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * place) & 63) as usize];
            text.push(if place > three.len() {
                '='
            } else {
                digit.into()
            });
        }
    }
    text
}

/// The addresses of a CNI result.
///
/// # Errors
/// When one cannot be read.
pub fn addrs(result: &Value) -> Result<Dual<IpAddr>> {
    let ips = result["ips"]
        .as_array()
        .with_context(|| format!("no addresses in {result}"))?;
    let addrs = ips
        .iter()
        .map(|ip| {
            let text = ip["address"].as_str().context("an IP has an address")?;
            Ok(text.parse::<IpNet>()?.addr())
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Dual::of_addrs(addrs))
}
