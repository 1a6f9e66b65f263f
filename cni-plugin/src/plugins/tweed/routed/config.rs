//! The keys of an entry with mode `routed`. Pure.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use tweed_model::Mac;

use crate::net::options;
use crate::spec::{CniError, Dns, NetConf, json};
use crate::state::records::state_dir_of;

/// Keys that only a bridge has. What asks for nothing is passed over.
const OF_A_BRIDGE: [&str; 12] = [
    "bridge",
    "forceAddress",
    "hairpinMode",
    "promiscMode",
    "vlan",
    "vlanTrunk",
    "preserveDefaultVlan",
    "macspoofchk",
    "enabledad",
    "disableContainerInterface",
    "portIsolation",
    "acceptRA",
];

/// Keys that are on in any case.
const ALWAYS_ON: [&str; 2] = ["isGateway", "isDefaultGateway"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoutedConfig {
    /// What leaves the container's subnet gets the host's address.
    pub(super) ip_masq: bool,
    /// MTU of the pair, in bytes.
    pub(super) mtu: Option<u32>,
    /// Hardware address of the container's end.
    pub(super) mac: Option<Mac>,
    /// Name servers, in place of those of the IPAM plugin.
    pub(super) dns: Option<Dns>,
    /// Folder of the records of attachments.
    pub(super) state_dir: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ip_masq: bool,
    ip_masq_backend: String,
    mtu: i64,
    state_dir: String,
}

impl RoutedConfig {
    /// Reads and checks the keys.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        refuse(conf)?;
        options::check_masquerade_backend(&keys.ip_masq_backend)?;
        // Where another source has one, the entry has put it there.
        let runtime = conf.dynamic()?.runtime;
        Ok(Self {
            ip_masq: keys.ip_masq,
            mtu: options::mtu(keys.mtu)?,
            mac: options::mac(&[runtime.mac.as_deref()])?,
            dns: options::dns(conf)?,
            state_dir: state_dir_of(keys.state_dir),
        })
    }
}

fn refuse(conf: &NetConf) -> Result<(), CniError> {
    let given = |key: &str| json::get(&conf.raw, key);
    for key in OF_A_BRIDGE {
        if let Some(value) = given(key).filter(|value| !is_off(value)) {
            let msg = format!("{key} is {value}, which only a bridge has");
            return Err(CniError::config(msg)
                .details("want it absent in mode routed; or set mode to bridge"));
        }
    }
    for key in ALWAYS_ON {
        if let Some(value) = given(key).filter(|value| **value != true) {
            let msg = format!("{key} is {value}, and the gateway of a routed pod is its host");
            return Err(CniError::config(msg).details("want true or nothing in mode routed"));
        }
    }
    Ok(())
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::Version;

    fn parse(key: &str, value: Value) -> Result<RoutedConfig, String> {
        let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "tweed", key: value});
        let conf = NetConf::from_value(conf, &Version::ALL).unwrap();
        RoutedConfig::parse(&conf).map_err(|error| error.to_string())
    }

    #[test]
    fn what_only_a_bridge_has_is_refused_by_name_and_what_asks_for_nothing_is_not() {
        for key in OF_A_BRIDGE {
            for value in [json!(true), json!(7), json!("x"), json!([{}]), json!({})] {
                let error = parse(key, value).unwrap_err();
                assert!(error.starts_with(key), "{error}");
            }
            for value in [json!(false), json!(0), json!(""), json!([]), json!(null)] {
                assert!(parse(key, value.clone()).is_ok(), "{key} {value}");
            }
        }
        for key in ALWAYS_ON {
            assert!(parse(key, json!(false)).unwrap_err().starts_with(key));
            assert!(parse(key, json!(true)).is_ok());
        }
    }
}
