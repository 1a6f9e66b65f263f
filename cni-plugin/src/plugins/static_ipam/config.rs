//! The addresses, by rank: the runtime's `ips` replace those of `args.cni`, which replace those of the configuration
//! together with the ones of `CNI_ARGS`.

use std::net::IpAddr;

use serde::Deserialize;

use crate::spec::args::Args;
use crate::spec::result::cidr;
use crate::spec::{CniError, Dns, IpConfig, NetConf, Route, Version};

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StaticConfig {
    pub(crate) addresses: Vec<IpConfig>,
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Outer {
    ipam: Option<IpamConf>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IpamConf {
    addresses: Vec<AddressConf>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AddressConf {
    address: String,
    #[serde(deserialize_with = "crate::spec::result::maybe_addr")]
    gateway: Option<IpAddr>,
}

impl StaticConfig {
    /// Reads and validates the configuration, with what the runtime added for this container.
    ///
    /// # Errors
    /// With the messages of the reference.
    pub(crate) fn parse(conf: &NetConf, args: &Args) -> Result<Self, CniError> {
        let ipam = conf
            .read::<Outer>()?
            .ipam
            .ok_or_else(|| CniError::config("IPAM config missing 'ipam' key"))?;
        let dynamic = conf.dynamic()?;
        let configured = configured(&ipam.addresses)?;
        let named = named(configured, args)?;
        let of_args = requested(&dynamic.args.ips)?;
        let of_runtime = requested(&dynamic.runtime.ips)?;
        let by_rank = [of_runtime, of_args, named];
        let addresses = by_rank.into_iter().find(|ips| !ips.is_empty());
        let addresses = addresses.unwrap_or_default();
        one_a_family(&addresses, conf.version)?;
        Ok(Self {
            addresses,
            routes: ipam.routes,
            dns: ipam.dns,
        })
    }
}

fn configured(addresses: &[AddressConf]) -> Result<Vec<IpConfig>, CniError> {
    let read = |conf: &AddressConf| {
        Ok(IpConfig {
            gateway: conf.gateway,
            ..ip(&conf.address, "the 'address' field is expected to be")?
        })
    };
    addresses.iter().map(read).collect()
}

/// Adds the addresses of `CNI_ARGS`, and gives each the gateway of its subnet that stands there.
fn named(mut ips: Vec<IpConfig>, args: &Args) -> Result<Vec<IpConfig>, CniError> {
    for text in args.get("IP").into_iter().flat_map(|all| all.split(',')) {
        ips.push(ip(text, "the 'ip' field is expected to be")?);
    }
    for text in args
        .get("GATEWAY")
        .into_iter()
        .flat_map(|all| all.split(','))
    {
        let gateway: IpAddr = text
            .trim()
            .parse()
            .map_err(|_| CniError::config(format!("invalid gateway address: {text}")))?;
        let gateway = gateway.to_canonical();
        let with = ips.iter_mut().filter(|ip| ip.address.contains(&gateway));
        with.for_each(|ip| ip.gateway = Some(gateway));
    }
    Ok(ips)
}

fn requested(texts: &[String]) -> Result<Vec<IpConfig>, CniError> {
    let texts = texts.iter();
    texts
        .map(|text| ip(text, "an entry in the 'ips' field is NOT"))
        .collect()
}

fn ip(text: &str, what: &str) -> Result<IpConfig, CniError> {
    let address = cidr(text.trim())
        .ok_or_else(|| CniError::config(format!("{what} in CIDR notation, got: '{text}'")))?;
    Ok(IpConfig {
        interface: None,
        address,
        gateway: None,
    })
}

fn one_a_family(ips: &[IpConfig], version: Version) -> Result<(), CniError> {
    let v4 = ips.iter().filter(|ip| ip.address.addr().is_ipv4()).count();
    if version < Version::V0_3_0 && (v4 > 1 || ips.len() - v4 > 1) {
        return Err(CniError::config(format!(
            "CNI version {version} does not support more than 1 address per family"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(version: &str, conf: &Value, args: &str) -> Result<Vec<String>, String> {
        let mut whole = json!({"cniVersion": version, "name": "net", "type": "x"});
        for (key, value) in conf.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let conf = NetConf::from_value(whole, &Version::ALL).unwrap();
        let config = StaticConfig::parse(&conf, &Args::parse(args).unwrap());
        let config = config.map_err(|error| error.to_string())?;
        let shown = |ip: &IpConfig| match ip.gateway {
            Some(gateway) => format!("{} via {gateway}", ip.address),
            None => ip.address.to_string(),
        };
        Ok(config.addresses.iter().map(shown).collect())
    }

    fn conf() -> Value {
        json!({"ipam": {"type": "static", "addresses": [
            {"address": "10.0.0.9/24", "gateway": "10.0.0.254"}, {"address": "fd00::9/64"},
        ]}})
    }

    #[test]
    fn addresses_of_cni_args_join_the_configured_ones_and_gateways_go_to_their_subnets() {
        let read = |args: &str| read("1.0.0", &conf(), args).unwrap();
        assert_eq!(read(""), ["10.0.0.9/24 via 10.0.0.254", "fd00::9/64"]);
        assert_eq!(
            read("IP=10.1.0.9/16, 10.2.0.9/16;GATEWAY=10.1.0.1,fd00::1,10.0.0.1"),
            [
                "10.0.0.9/24 via 10.0.0.1",
                "fd00::9/64 via fd00::1",
                "10.1.0.9/16 via 10.1.0.1",
                "10.2.0.9/16"
            ]
        );
    }

    #[test]
    fn the_runtimes_addresses_replace_those_of_args_which_replace_the_others() {
        let mut conf = conf();
        conf["args"] = json!({"cni": {"ips": ["10.3.0.9/24"]}});
        let args = "IP=10.1.0.9/16";
        assert_eq!(read("1.0.0", &conf, args).unwrap(), ["10.3.0.9/24"]);
        conf["runtimeConfig"] = json!({"ips": ["10.4.0.9/24", "::ffff:10.5.0.9/120"]});
        let both = ["10.4.0.9/24", "10.5.0.9/24"];
        assert_eq!(read("1.0.0", &conf, args).unwrap(), both);
        let error = read("0.2.0", &conf, args).unwrap_err();
        assert!(error.contains("more than 1 address per family"), "{error}");
    }

    #[test]
    fn what_is_no_address_is_refused_wherever_it_stands() {
        let bad = json!("10.0.0.9");
        let address = json!({"ipam": {"addresses": [{"address": bad}]}});
        let of_args = json!({"ipam": {}, "args": {"cni": {"ips": [bad]}}});
        let of_runtime = json!({"ipam": {}, "runtimeConfig": {"ips": [bad]}});
        let cidr = "in CIDR notation, got: '10.0.0.9'";
        for (conf, args, words) in [
            (address, "", "the 'address' field is expected to be"),
            (
                json!({"ipam": {}}),
                "IP=10.0.0.9",
                "the 'ip' field is expected to be",
            ),
            (of_args, "", "an entry in the 'ips' field is NOT"),
            (of_runtime, "", "an entry in the 'ips' field is NOT"),
        ] {
            assert_eq!(
                read("1.0.0", &conf, args).unwrap_err(),
                format!("{words} {cidr}")
            );
        }
        for key in ["args", "runtimeConfig"] {
            let conf = json!({key: {"ips": ["10.0.0.9/24"]}});
            let error = read("1.0.0", &conf, "").unwrap_err();
            assert_eq!(error, "IPAM config missing 'ipam' key");
        }
        let error = read("1.0.0", &conf(), "GATEWAY=10.0.0.300").unwrap_err();
        assert_eq!(error, "invalid gateway address: 10.0.0.300");
    }
}
