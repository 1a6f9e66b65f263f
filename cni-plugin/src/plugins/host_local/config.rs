//! The `ipam` object of `host-local`. Parsing is pure: reading `resolvConf` and the reservations comes after.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::range::{RangeConf, RangeError, RangeSet};
use crate::spec::args::Args;
use crate::spec::json;
use crate::spec::{CniError, Kind, NetConf, Route, Version};

/// Where reservations are kept unless configured otherwise: one folder a network.
const DATA_DIR: &str = "/var/lib/cni/networks";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HostLocalConfig {
    /// One address is handed out of each.
    pub(crate) sets: Vec<RangeSet>,
    /// Addresses that the container must have.
    pub(crate) requested: Vec<IpAddr>,
    /// Routes to pass on.
    pub(crate) routes: Vec<Route>,
    /// A `resolv.conf` to take name servers from.
    pub(crate) resolv_conf: Option<PathBuf>,
    /// Where the reservations of this network are.
    pub(crate) network_dir: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Outer {
    ipam: Option<IpamConf>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IpamConf {
    subnet: Option<ipnet::IpNet>,
    #[serde(deserialize_with = "crate::spec::result::maybe_addr")]
    range_start: Option<IpAddr>,
    #[serde(deserialize_with = "crate::spec::result::maybe_addr")]
    range_end: Option<IpAddr>,
    #[serde(deserialize_with = "crate::spec::result::maybe_addr")]
    gateway: Option<IpAddr>,
    ranges: Vec<Vec<RangeConf>>,
    routes: Vec<Route>,
    resolv_conf: String,
    data_dir: String,
}

/// The folder of a network's reservations. Asks nothing else of the configuration, so that DEL works with a broken one.
pub(crate) fn network_dir(conf: &NetConf) -> PathBuf {
    let dir = json::get(&conf.raw, "ipam")
        .and_then(|ipam| json::get(ipam.as_object()?, "dataDir"))
        .and_then(|dir| dir.as_str());
    network_dir_in(dir.unwrap_or_default(), conf)
}

fn network_dir_in(dir: &str, conf: &NetConf) -> PathBuf {
    let dir = if dir.is_empty() { DATA_DIR } else { dir };
    Path::new(dir).join(&conf.name)
}

impl HostLocalConfig {
    /// Reads and validates the configuration, with what the runtime added for this container.
    ///
    /// # Errors
    /// Messages are those of the reference; the number of the range set counts after the runtime's sets were put first.
    pub(crate) fn parse(conf: &NetConf, args: &Args) -> Result<Self, CniError> {
        let ipam = conf
            .read::<Outer>()?
            .ipam
            .ok_or_else(|| CniError::config("IPAM config missing 'ipam' key"))?;
        let requested = requested(conf, args)?;
        let mut confs = runtime_ranges(conf)?;
        if ipam.subnet.is_some() {
            confs.push(vec![RangeConf {
                subnet: ipam.subnet,
                range_start: ipam.range_start,
                range_end: ipam.range_end,
                gateway: ipam.gateway,
            }]);
        }
        confs.extend(ipam.ranges);
        Ok(Self {
            sets: range_sets(&confs, conf.version)?,
            requested,
            routes: ipam.routes,
            resolv_conf: Some(ipam.resolv_conf)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            network_dir: network_dir_in(&ipam.data_dir, conf),
        })
    }
}

fn runtime_ranges(conf: &NetConf) -> Result<Vec<Vec<RangeConf>>, CniError> {
    let sets = conf.dynamic()?.runtime.ip_ranges;
    sets.iter()
        .map(|set| set.iter().map(json::read).collect::<Result<_, _>>())
        .collect::<Result<_, _>>()
        .map_err(|error| CniError::new(Kind::Decode, error).context("runtimeConfig.ipRanges"))
}

/// `CNI_ARGS`, then `args.cni.ips`, then `runtimeConfig.ips`. A prefix length is not looked at.
fn requested(conf: &NetConf, args: &Args) -> Result<Vec<IpAddr>, CniError> {
    let dynamic = conf.dynamic()?;
    let texts = args.get("IP").into_iter();
    texts
        .chain(dynamic.args.ips.iter().map(String::as_str))
        .chain(dynamic.runtime.ips.iter().map(String::as_str))
        .map(|text| {
            let (addr, _) = text.split_once('/').unwrap_or((text, ""));
            let addr: IpAddr = addr.parse().map_err(|_| {
                CniError::config(format!("requested IP {text:?} is not an address"))
            })?;
            Ok(addr.to_canonical())
        })
        .collect()
}

fn range_sets(confs: &[Vec<RangeConf>], version: Version) -> Result<Vec<RangeSet>, CniError> {
    if confs.is_empty() {
        return Err(CniError::config("no IP ranges specified"));
    }
    let mut sets: Vec<RangeSet> = Vec::new();
    for (index, confs) in confs.iter().enumerate() {
        let set = RangeSet::new(confs).map_err(|error: RangeError| {
            CniError::config(format!("invalid range set {index}: {error}"))
        })?;
        sets.push(set);
    }
    let v4 = sets.iter().filter(|set| set.is_ipv4()).count();
    if version < Version::V0_3_0 && (v4 > 1 || sets.len() - v4 > 1) {
        return Err(CniError::config(format!(
            "CNI version {version} does not support more than 1 address per family"
        )));
    }
    for (index, set) in sets.iter().enumerate() {
        if let Some(other) = sets[..index].iter().position(|other| other.overlaps(set)) {
            let msg = format!("range set {other} overlaps with {index}");
            return Err(CniError::config(msg));
        }
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(version: &str, ipam: Value, extra: Value) -> Result<HostLocalConfig, String> {
        parse_with_args(version, ipam, extra, "")
    }

    fn parse_with_args(
        version: &str,
        ipam: Value,
        extra: Value,
        args: &str,
    ) -> Result<HostLocalConfig, String> {
        let mut value = json!({"cniVersion": version, "name": "net", "ipam": ipam});
        for (key, member) in extra.as_object().unwrap() {
            value[key] = member.clone();
        }
        let conf = NetConf::from_value(value, &Version::ALL).unwrap();
        HostLocalConfig::parse(&conf, &Args::parse(args).unwrap())
            .map_err(|error| error.to_string())
    }

    fn sets(config: &HostLocalConfig) -> Vec<String> {
        config.sets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_old_form_the_new_form_and_the_runtimes_ranges_come_in_order() {
        let config = parse(
            "0.3.1",
            json!({
                "type": "host-local", "subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9",
                "rangeEnd": "10.1.2.20", "gateway": "10.1.2.30",
                "ranges": [[{"subnet": "10.1.4.0/24"}, {"subnet": "11.1.4.0/24"}]],
            }),
            json!({"runtimeConfig": {"ipRanges": [[{"subnet": "2001:db8::/64"}]]}}),
        )
        .unwrap();
        assert_eq!(
            sets(&config),
            [
                "2001:db8::1-2001:db8::ffff:ffff:ffff:ffff",
                "10.1.2.9-10.1.2.20",
                "10.1.4.1-10.1.4.254,11.1.4.1-11.1.4.254"
            ]
        );
        assert_eq!(
            config.sets[1].ranges()[0].gateway().to_string(),
            "10.1.2.30"
        );
    }

    #[test]
    fn requested_addresses_come_from_three_places_with_or_without_prefix() {
        let config = parse_with_args(
            "0.3.1",
            json!({"subnet": "10.1.2.0/24"}),
            json!({
                "args": {"cni": {"ips": ["10.1.2.11/24", "10.1.2.12"]}},
                "runtimeConfig": {"ips": ["10.1.2.13/16"]},
            }),
            "IgnoreUnknown=1;IP=10.1.2.10/24",
        )
        .unwrap();
        let requested: Vec<String> = config.requested.iter().map(ToString::to_string).collect();
        assert_eq!(
            requested,
            ["10.1.2.10", "10.1.2.11", "10.1.2.12", "10.1.2.13"]
        );
        assert_eq!(
            parse_with_args("0.3.1", json!({"subnet": "10.1.2.0/24"}), json!({}), "IP=x"),
            Err("requested IP \"x\" is not an address".to_owned())
        );
    }

    #[test]
    fn errors_have_the_words_of_the_reference() {
        let subnet = |text: &str| json!({"subnet": text});
        let pair = |a, b| json!({"ranges": [[subnet(a)], [subnet(b)]]});
        for (version, ipam, expected) in [
            ("0.3.1", Value::Null, "IPAM config missing 'ipam' key"),
            ("0.3.1", json!({}), "no IP ranges specified"),
            (
                "0.3.1",
                json!({"ranges": [[]]}),
                "invalid range set 0: empty range set",
            ),
            (
                "0.3.1",
                json!({"ranges": [[subnet("10.1.2.0/24"), subnet("2001:db8::/64")]]}),
                "invalid range set 0: mixed address families",
            ),
            (
                "0.3.1",
                pair("10.1.0.0/16", "10.1.2.0/24"),
                "range set 0 overlaps with 1",
            ),
            (
                "0.2.0",
                pair("10.1.0.0/16", "10.2.0.0/16"),
                "CNI version 0.2.0 does not support more than 1 address per family",
            ),
        ] {
            assert_eq!(parse(version, ipam, json!({})), Err(expected.to_owned()));
        }
        assert!(parse("0.2.0", pair("10.1.0.0/16", "2001:db8::/64"), json!({})).is_ok());
        assert!(parse("0.3.1", json!({"subnet": 3}), json!({})).is_err());
    }

    #[test]
    fn the_folder_is_found_in_a_configuration_that_is_otherwise_broken() {
        let value = json!({"name": "net", "ipam": {"DATADIR": "/x", "ranges": 3}});
        let dir = network_dir(&NetConf::from_value(value, &Version::ALL).unwrap());
        assert_eq!(dir, PathBuf::from("/x/net"));
        let value = json!({"name": "net", "ipam": []});
        let dir = network_dir(&NetConf::from_value(value, &Version::ALL).unwrap());
        assert_eq!(dir, PathBuf::from("/var/lib/cni/networks/net"));
    }

    proptest::proptest! {
        #[test]
        fn any_ranges_are_read_or_refused(ipam in any_json(), ranges in any_json(), routes in any_json(), ips in any_json()) {
            let known = json!({"subnet": "10.1.2.0/24", "ranges": ranges, "routes": routes});
            for ipam in [ipam, known] {
                let runtime = json!({"ipRanges": ips, "ips": ips});
                let conf = json!({"name": "n", "cniVersion": "1.0.0", "ipam": ipam, "runtimeConfig": runtime});
                let _ = NetConf::from_value(conf, &Version::ALL).and_then(|conf| HostLocalConfig::parse(&conf, &Args::default()));
            }
        }
    }

    fn any_json() -> impl proptest::strategy::Strategy<Value = Value> {
        crate::arbitrary::json(
            "subnet|rangeStart|rangeEnd|gateway|ranges|dst|gw|mtu|dataDir|x",
            "10\\.1\\.[0-9]{1,3}\\.[0-9]{1,3}(/[0-9]{1,3})?|2001:db8::[0-9a-f]{0,4}(/[0-9]{1,3})?|::/0|[0-9a-f:./]{0,12}",
        )
    }
}
