//! The keys of `tweed`, and the configurations of the plugins that one entry stands for. Pure.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tweed_model::presence::FOLDER;
use tweed_model::subnet_env::{DEFAULT_PATH, SubnetEnv};

use crate::net::subnet_env;
use crate::spec::args::Args;
use crate::spec::{CniError, NetConf, json};

/// Keys of `tuning` that change more than the hardware address, which the interface has from the start.
const TUNED: [&str; 5] = ["sysctl", "mtu", "promisc", "allmulti", "txQLen"];

/// The limits of `bandwidth`, and keys that it refuses.
const LIMITS: [&str; 6] = [
    "ingressRate",
    "ingressBurst",
    "egressRate",
    "egressBurst",
    "shapedSubnets",
    "unshapedSubnets",
];

/// How a container is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// In a bridge of the host.
    Bridge,
    /// By routes of the host, without a bridge.
    Routed,
}

/// An entry that does a whole pod.
#[derive(Clone, Debug)]
pub(super) struct PodConfig {
    pub(super) mode: Mode,
    /// The agent's file.
    pub(super) subnet_file: PathBuf,
    /// Where the agent registers itself.
    pub(super) run_dir: PathBuf,
    /// The hardware address of the container's end, by the order of `tuning`, where the plugin that makes the interface
    /// has another.
    mac: Option<String>,
    conf: NetConf,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    mode: String,
    subnet_file: String,
    run_dir: String,
    mac: String,
}

/// Whether an entry does a whole pod, or passes the work on as `flannel` does. It may otherwise be broken.
pub(super) fn is_whole(conf: &NetConf) -> bool {
    json::get(&conf.raw, "mode").is_some_and(|mode| mode != "")
}

impl PodConfig {
    /// Reads and checks the keys that no other plugin reads.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf, args: &Args) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        let mode = match keys.mode.as_str() {
            "bridge" => Mode::Bridge,
            "routed" => Mode::Routed,
            other => {
                let msg = format!("mode is {other:?}, want bridge or routed");
                return Err(CniError::config(msg));
            }
        };
        if json::get(&conf.raw, "delegate").is_some() {
            let msg = "delegate goes with no mode";
            return Err(CniError::config(msg)
                .details("write its keys beside mode, or remove mode to have them passed on"));
        }
        let or = |text: String, default: &str| match text.as_str() {
            "" => PathBuf::from(default),
            _ => PathBuf::from(text),
        };
        Ok(Self {
            mode,
            subnet_file: or(keys.subnet_file, DEFAULT_PATH),
            run_dir: or(keys.run_dir, FOLDER),
            mac: mac(conf, args, keys.mac)?,
            conf: conf.clone(),
        })
    }

    /// What DEL and GC need, of an entry that may be broken. What either mode has made goes in the same way.
    pub(super) fn for_removal(conf: &NetConf) -> Self {
        Self {
            mode: Mode::Bridge,
            subnet_file: PathBuf::new(),
            run_dir: PathBuf::new(),
            mac: None,
            conf: conf.clone(),
        }
    }

    /// Whether the subnets are those of the agent's file.
    pub(super) fn needs_env(&self) -> bool {
        let ipam = self.ipam_given();
        let is_own = json::get(&ipam, "type").is_none_or(|name| name == "host-local");
        is_own && !has_ranges(&ipam)
    }

    /// The configuration of the plugin that makes the interface. Without `env` it has no ranges and the kernel's MTU.
    ///
    /// # Errors
    /// When `ipam.routes` are no routes.
    pub(super) fn interface(&self, env: Option<&SubnetEnv>) -> Result<NetConf, CniError> {
        let mut conf = self.conf.clone();
        let ipam = self.ipam(env)?;
        json::put(&mut conf.raw, "ipam", ipam.into());
        if let Some(env) = env {
            json::set_default(&mut conf.raw, "ipMasq", || (!env.ip_masq).into());
            json::set_default(&mut conf.raw, "mtu", || env.mtu.into());
        }
        if self.mode == Mode::Bridge {
            let is_promisc = json::get(&conf.raw, "promiscMode") == Some(&Value::Bool(true));
            json::set_default(&mut conf.raw, "isGateway", || true.into());
            json::set_default(&mut conf.raw, "isDefaultGateway", || true.into());
            json::set_default(&mut conf.raw, "hairpinMode", || (!is_promisc).into());
        }
        if let Some(mac) = &self.mac {
            let runtime = json::get(&conf.raw, "runtimeConfig").and_then(Value::as_object);
            let mut runtime = runtime.cloned().unwrap_or_default();
            json::put(&mut runtime, "mac", mac.as_str().into());
            json::put(&mut conf.raw, "runtimeConfig", runtime.into());
        }
        Ok(conf)
    }

    /// That of the plugins behind it. The MTU is that of both ends of the pair, and set already.
    pub(super) fn tuning(&self) -> NetConf {
        let mut conf = self.conf.clone();
        json::take(&mut conf.raw, "mtu");
        conf
    }

    /// As it was given, for the others.
    pub(super) fn given(&self) -> NetConf {
        self.conf.clone()
    }

    /// Whether the entry, or the runtime, changes what `tuning` changes.
    pub(super) fn is_tuned(&self) -> bool {
        let args = json::get(&self.conf.raw, "args").and_then(|args| json::get_in(args, "cni"));
        TUNED.iter().any(|key| {
            let own = json::get(&self.conf.raw, key).filter(|_| *key != "mtu");
            own.or_else(|| json::get_in(args?, key)).is_some()
        })
    }

    /// Whether it may limit what a container sends or receives.
    pub(super) fn is_limited(&self) -> bool {
        let runtime = json::get(&self.conf.raw, "runtimeConfig");
        let of_runtime = runtime.and_then(|runtime| json::get_in(runtime, "bandwidth"));
        let mut limits = LIMITS.iter();
        self.has_capability("bandwidth")
            || of_runtime.is_some()
            || limits.any(|key| json::get(&self.conf.raw, key).is_some())
    }

    /// Whether the runtime may hand over host ports.
    pub(super) fn has_ports(&self) -> bool {
        let runtime = json::get(&self.conf.raw, "runtimeConfig");
        let ports = runtime.and_then(|runtime| json::get_in(runtime, "portMappings"));
        ports.is_some() || self.has_capability("portMappings")
    }

    fn has_capability(&self, name: &str) -> bool {
        let capabilities = json::get(&self.conf.raw, "capabilities");
        let given = capabilities.and_then(|capabilities| json::get_in(capabilities, name));
        given == Some(&Value::Bool(true))
    }

    fn ipam_given(&self) -> Map<String, Value> {
        let given = json::get(&self.conf.raw, "ipam").and_then(Value::as_object);
        given.cloned().unwrap_or_default()
    }

    /// What the IPAM plugin reads.
    ///
    /// # Errors
    /// When `ipam.routes` are no routes.
    pub(super) fn ipam(&self, env: Option<&SubnetEnv>) -> Result<Map<String, Value>, CniError> {
        let mut ipam = self.ipam_given();
        json::set_default(&mut ipam, "type", || json!("host-local"));
        if let Some(env) = env.filter(|_| self.needs_env()) {
            subnet_env::put_ranges(&mut ipam, env);
            // A routed pod sends everything to its host.
            if self.mode == Mode::Bridge {
                subnet_env::add_routes(&mut ipam, env)?;
            }
        }
        Ok(ipam)
    }
}

fn mac(conf: &NetConf, args: &Args, own: String) -> Result<Option<String>, CniError> {
    let dynamic = conf.dynamic()?;
    let env = args.get("MAC").map(str::to_owned);
    let all = [dynamic.args.mac, dynamic.runtime.mac, env, Some(own)];
    Ok(all.into_iter().flatten().find(|mac| !mac.is_empty()))
}

fn has_ranges(ipam: &Map<String, Value>) -> bool {
    let given = |key: &&str| json::get(ipam, key).is_some();
    ["ranges", "subnet"].iter().any(given)
}

#[cfg(test)]
mod tests;
