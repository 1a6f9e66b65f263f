//! The keys of `tuning`. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use tweed_model::Mac;

use super::switch::Switch;
use crate::spec::{Call, CniError, NetConf, json};

/// Where Go's plugin keeps what it will restore.
const DATA_DIR: &str = "/run/cni/tuning";

#[derive(Debug)]
pub(super) struct TuningConfig {
    /// Switches of the container's namespace.
    pub(super) sysctls: Vec<Switch>,
    /// What to change of the interface.
    pub(super) link: Attributes,
    /// Folder for what DEL will restore.
    pub(super) data_dir: PathBuf,
}

/// Attributes of an interface; those that are unset stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) mac: Option<Mac>,
    pub(super) promisc: Option<bool>,
    pub(super) mtu: Option<u32>,
    pub(super) allmulti: Option<bool>,
    /// Length of the queue, in packets.
    pub(super) tx_queue: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    sysctl: BTreeMap<String, String>,
    mac: String,
    promisc: bool,
    mtu: i64,
    allmulti: Option<bool>,
    #[serde(rename = "txQLen")]
    tx_queue: Option<i64>,
    data_dir: String,
    args: Args,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: Overrides,
}

/// `args.cni`, which goes before all else.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Overrides {
    sysctl: BTreeMap<String, String>,
    mac: Option<String>,
    promisc: Option<bool>,
    mtu: Option<i64>,
    allmulti: Option<bool>,
    #[serde(rename = "txQLen")]
    tx_queue: Option<i64>,
}

impl TuningConfig {
    /// Reads and checks the keys. For one container what goes before is, from last to first: the configuration,
    /// `CNI_ARGS`, `runtimeConfig`, `args.cni`.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf, call: &Call) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        let args = keys.args.cni;
        if let Some(key) = &conf.repeated_sysctl {
            return Err(repeated(key));
        }
        let mut sysctls = keys.sysctl;
        sysctls.extend(args.sysctl);
        let set = |text: Option<String>| text.filter(|text| !text.is_empty());
        let runtime = set(conf.dynamic()?.runtime.mac);
        let env = || call.args.get("MAC").map(str::to_owned);
        let mac = args.mac.or(runtime).or_else(env).or(Some(keys.mac));
        let mtu = number("mtu", args.mtu.unwrap_or(keys.mtu))?;
        let tx_queue = args.tx_queue.or(keys.tx_queue);
        Ok(Self {
            sysctls: switches(&sysctls, &call.attachment.ifname)?,
            link: Attributes {
                mac: set(mac).map(|text| address(&text)).transpose()?,
                promisc: args.promisc.unwrap_or(keys.promisc).then_some(true),
                mtu: (mtu != 0).then_some(mtu),
                allmulti: args.allmulti.or(keys.allmulti),
                tx_queue: tx_queue.map(|n| number("txQLen", n)).transpose()?,
            },
            data_dir: data_dir_of(&keys.data_dir),
        })
    }
}

/// The folder, in a configuration that may otherwise be broken.
pub(super) fn data_dir(conf: &NetConf) -> PathBuf {
    let dir = json::get(&conf.raw, "dataDir").and_then(Value::as_str);
    data_dir_of(dir.unwrap_or_default())
}

fn data_dir_of(dir: &str) -> PathBuf {
    PathBuf::from(if dir.is_empty() { DATA_DIR } else { dir })
}

fn number(key: &str, given: i64) -> Result<u32, CniError> {
    // The kernel's own type is `int`.
    let number = i32::try_from(given)
        .ok()
        .and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| {
        let max = i32::MAX;
        CniError::config(format!("invalid {key} {given}, must be [0, {max}]"))
    })
}

fn address(text: &str) -> Result<Mac, CniError> {
    let mac: Mac = text
        .parse()
        .map_err(|error| CniError::config(format!("invalid args {text} for MAC addr: {error}")))?;
    if !mac.is_unicast() {
        let msg =
            format!("mac {mac} is not the address of one interface (it is zero or a group's)");
        return Err(CniError::config(msg));
    }
    Ok(mac)
}

fn switches(sysctls: &BTreeMap<String, String>, ifname: &str) -> Result<Vec<Switch>, CniError> {
    let mut seen = BTreeSet::new();
    let mut switches = Vec::new();
    for (key, value) in sysctls {
        let switch = Switch::parse(key, value, ifname)?;
        if !seen.insert(switch.path.clone()) {
            return Err(repeated(key));
        }
        switches.push(switch);
    }
    Ok(switches)
}

fn repeated(key: &str) -> CniError {
    let msg = "duplicated sysctl keys are not allowed";
    CniError::config(msg).details(format!("{key} is there twice"))
}
