//! The keys of `portmap`, and the host ports that the runtime hands over. Pure.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};
use tweed_attach::hostport::Condition;
use tweed_attach::{PortMapping, PortMasquerade};
use tweed_model::{Dual, Family};
use tweed_nft::ruleset::L4Proto;

use super::conditions;
use crate::spec::result::maybe_addr;
use crate::spec::{CniError, Kind, NetConf, json};
use crate::state::records::{state_dir, state_dir_of};

/// The mark that the rules use. They are shared by all networks, so that it can't be chosen.
const MARK_BIT: i64 = 13;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortmapConfig {
    /// The host ports of this container.
    pub(super) ports: Vec<PortMapping>,
    /// Which connections get the host's address as source.
    pub(super) masquerade: PortMasquerade,
    /// Conditions that connections meet.
    pub(super) conditions: Dual<Vec<Condition>>,
    /// Folder of the records of attachments.
    pub(super) state_dir: PathBuf,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    backend: String,
    snat: bool,
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    conditions_v4: Vec<String>,
    conditions_v6: Vec<String>,
    runtime_config: Map<String, Value>,
    state_dir: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            backend: String::new(),
            snat: true,
            masq_all: false,
            mark_masq_bit: None,
            external_set_mark_chain: None,
            conditions_v4: Vec::new(),
            conditions_v6: Vec::new(),
            runtime_config: Map::new(),
            state_dir: String::new(),
        }
    }
}

/// A mapping as runtimes write it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Mapping {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP", deserialize_with = "maybe_addr")]
    host_ip: Option<IpAddr>,
}

impl PortmapConfig {
    /// Reads and checks the keys.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        refuse(&keys)?;
        let ports = mappings(&keys.runtime_config)
            .iter()
            .map(mapping)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            ports,
            masquerade: masquerade(&keys),
            conditions: Dual {
                v4: conditions::read("conditionsV4", Family::V4, &keys.conditions_v4)?,
                v6: conditions::read("conditionsV6", Family::V6, &keys.conditions_v6)?,
            },
            state_dir: state_dir_of(keys.state_dir),
        })
    }
}

/// Whether a configuration that may otherwise be broken has host ports.
pub(super) fn has_ports(conf: &NetConf) -> bool {
    let runtime = json::get(&conf.raw, "runtimeConfig").and_then(Value::as_object);
    runtime.is_some_and(|runtime| !mappings(runtime).is_empty())
}

/// Those host ports of a configuration that make sense: what DEL looks for.
pub(super) fn readable(conf: &NetConf) -> PortmapConfig {
    let runtime = json::get(&conf.raw, "runtimeConfig").and_then(Value::as_object);
    let all = runtime.map(mappings).unwrap_or_default();
    PortmapConfig {
        ports: all.iter().filter_map(|value| mapping(value).ok()).collect(),
        masquerade: PortMasquerade::default(),
        conditions: Dual::default(),
        state_dir: state_dir(conf),
    }
}

fn masquerade(keys: &Keys) -> PortMasquerade {
    match (keys.snat, keys.masq_all) {
        (false, _) => PortMasquerade::Off,
        (true, true) => PortMasquerade::All,
        (true, false) => PortMasquerade::Needed,
    }
}

fn mappings(runtime: &Map<String, Value>) -> Vec<Value> {
    match json::get(runtime, "portMappings") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.clone(),
        // A mapping that can't be read is refused by ADD.
        Some(other) => vec![other.clone()],
    }
}

fn mapping(value: &Value) -> Result<PortMapping, CniError> {
    let mapping: Mapping = json::read(value).map_err(|error| {
        CniError::new(Kind::Decode, error).context("runtimeConfig.portMappings")
    })?;
    Ok(PortMapping {
        protocol: protocol(&mapping.protocol)?,
        host_addr: mapping.host_ip,
        host_port: port("host", mapping.host_port)?,
        container_port: port("container", mapping.container_port)?,
    })
}

fn port(whose: &str, number: i64) -> Result<u16, CniError> {
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    port.ok_or_else(|| {
        CniError::config(format!("Invalid {whose} port number: {number}"))
            .details("portMappings want 1 to 65535")
    })
}

fn protocol(name: &str) -> Result<L4Proto, CniError> {
    match name.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(L4Proto::Tcp),
        "udp" => Ok(L4Proto::Udp),
        "sctp" => Ok(L4Proto::Sctp),
        _ => Err(CniError::config(format!("unknown protocol {name:?}"))
            .details("portMappings want tcp, udp or sctp")),
    }
}

/// Refuses contradictions, and options that are not supported.
fn refuse(keys: &Keys) -> Result<(), CniError> {
    let backend = keys.backend.as_str();
    if !matches!(backend, "" | "iptables" | "nftables") {
        let msg = format!("unrecognized backend {backend:?}");
        return Err(CniError::config(msg).details("want iptables or nftables; either is nftables"));
    }
    let chain = keys.external_set_mark_chain.as_deref();
    let chain = chain.filter(|chain| !chain.is_empty());
    match keys.mark_masq_bit {
        Some(_) if chain.is_some() => {
            let msg = "Cannot specify externalSetMarkChain and markMasqBit";
            Err(CniError::config(msg))
        }
        Some(bit) if !(0..=31).contains(&bit) => {
            Err(CniError::config("MasqMarkBit must be between 0 and 31"))
        }
        Some(bit) if bit != MARK_BIT => {
            let msg = format!("markMasqBit {bit} is not supported");
            Err(CniError::new(Kind::UnsupportedField, msg).details(format!(
                "the rules are shared by all networks and mark with bit {MARK_BIT}; remove the key"
            )))
        }
        // Somebody else's chain would have marked what our own rule marks and masquerades: nothing is missing.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
