//! The keys of `vrf`. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::spec::{CniError, NetConf, json};

#[derive(Debug, PartialEq, Eq)]
pub(super) struct VrfConfig {
    /// Name of the device.
    pub(super) name: String,
    /// Its table; one that no other VRF of the container has if none.
    pub(super) table: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    vrfname: String,
    table: u32,
}

impl VrfConfig {
    /// Reads and checks the keys.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        let name = keys.vrfname;
        if name.is_empty() {
            let msg = "configuration is expected to have a valid vrf name";
            return Err(CniError::config(msg).details("want vrfname"));
        }
        let wrong = |c: char| c == '/' || c == ':' || c.is_whitespace();
        if name.len() > 15 || name == "." || name == ".." || name.contains(wrong) {
            let msg = format!("vrfname {name:?} is not a name for an interface (at most 15 bytes)");
            return Err(CniError::config(msg));
        }
        let table = (keys.table != 0).then_some(keys.table);
        Ok(Self { name, table })
    }
}

/// The device's name, in a configuration that may otherwise be broken.
pub(super) fn name(conf: &NetConf) -> Option<String> {
    let name = json::get(&conf.raw, "vrfname").and_then(Value::as_str);
    name.map(str::to_owned).filter(|name| !name.is_empty())
}
