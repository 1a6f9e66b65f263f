//! The keys of `sbr`. Pure.

use std::net::IpAddr;

use serde::Deserialize;
use tweed_model::{Dual, Family};

use crate::spec::{CniError, NetConf, json};

#[derive(Debug)]
pub(super) struct SbrConfig {
    /// The one table for all rules, which somebody else fills; without it each address gets a table of its own.
    pub(super) table: Option<u32>,
    /// Gateways that go before those of the addresses.
    pub(super) gateways: Dual<IpAddr>,
    /// The routes to the addresses' own networks stay in the main table, with the address as source.
    pub(super) add_source_hints: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    table: Option<i64>,
    gateways: Vec<String>,
    add_source_hints: bool,
}

impl SbrConfig {
    /// Reads and checks the keys.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        let table = keys.table.map(|given| {
            number(given).ok_or_else(|| {
                let max = u32::MAX;
                CniError::config(format!("table {given} is not a number from 1 to {max}"))
            })
        });
        Ok(Self {
            table: table.transpose()?,
            gateways: gateways(&keys.gateways)?,
            add_source_hints: keys.add_source_hints,
        })
    }
}

/// The one table, in a configuration that may otherwise be broken.
pub(super) fn table(conf: &NetConf) -> Option<u32> {
    number(json::get(&conf.raw, "table")?.as_i64()?)
}

fn number(given: i64) -> Option<u32> {
    u32::try_from(given).ok().filter(|table| *table != 0)
}

fn gateways(given: &[String]) -> Result<Dual<IpAddr>, CniError> {
    let mut gateways = Dual::default();
    for text in given {
        let addr: IpAddr = text
            .parse()
            .map_err(|_| CniError::config(format!("invalid static gateway IP address: {text}")))?;
        let (slot, family) = match Family::of(&addr) {
            Family::V4 => (&mut gateways.v4, "IPv4"),
            Family::V6 => (&mut gateways.v6, "IPv6"),
        };
        if let Some(first) = slot.replace(addr) {
            let msg = format!("gateways list contains multiple {family} addresses");
            return Err(CniError::config(msg).details(format!("{first} and {text}")));
        }
    }
    Ok(gateways)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::spec::Version;

    fn parse(keys: Value) -> Result<SbrConfig, String> {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "sbr"});
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        NetConf::from_value(conf, Version::V0_1_0.and_newer())
            .and_then(|conf| SbrConfig::parse(&conf))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_gateway_a_family_is_allowed() {
        let both = parse(json!({"gateways": ["10.0.0.9", "fd00::9"]})).unwrap();
        assert_eq!(both.gateways.v4, "10.0.0.9".parse().ok());
        assert_eq!(both.gateways.v6, "fd00::9".parse().ok());
        for (keys, text) in [
            (
                json!({"gateways": ["10.0.0.8", "10.0.0.9"]}),
                "multiple IPv4 addresses",
            ),
            (
                json!({"gateways": ["fd00::8", "fd00::9"]}),
                "multiple IPv6 addresses",
            ),
            (
                json!({"gateways": ["10.0.0.0/8"]}),
                "invalid static gateway",
            ),
            (json!({"table": 0}), "table 0 is not a number from 1"),
            (json!({"table": -7}), "table -7"),
        ] {
            let error = parse(keys).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
