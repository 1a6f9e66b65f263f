//! Results on the wire: written in any version, read from any version, byte for byte as Go's library prints them.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};

use super::result::{CniResult, Dns, IpConfig, Route, maybe_addr, net};
use super::version::Version;
use super::{CniError, Kind, json};

/// Renders a result as `version` has it.
///
/// # Errors
/// Versions before 0.3.0 can't express a result without an address.
pub(crate) fn render(result: &CniResult, version: Version) -> Result<Value, CniError> {
    match version {
        Version::V0_1_0 | Version::V0_2_0 => render_families(result, version),
        Version::V0_3_0 | Version::V0_3_1 | Version::V0_4_0 => {
            Ok(render_versioned(result, version))
        }
        Version::V1_0_0 | Version::V1_1_0 => Ok(json::sorted(&render_plain(result, version))),
    }
}

/// Reads a result. One without a version has `fallback`'s.
///
/// # Errors
/// When the version is unknown or the members are not as that version has them.
pub(crate) fn read(value: &Value, fallback: Version) -> Result<CniResult, CniError> {
    let decode = |error: &dyn std::fmt::Display| CniError::new(Kind::Decode, error);
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Header {
        #[serde(default)]
        cni_version: String,
    }
    let header: Header = json::read(value).map_err(|error| decode(&error))?;
    let version = match header.cni_version.as_str() {
        "" => fallback,
        text => Version::parse(text).ok_or_else(|| {
            let msg = format!("unsupported CNI result version {text:?}");
            CniError::new(Kind::IncompatibleVersion, msg)
        })?,
    };
    if version < Version::V0_3_0 {
        let families: Families = json::read(value).map_err(|error| decode(&error))?;
        return Ok(families.into());
    }
    json::read(value).map_err(|error| decode(&error))
}

/// JSON with an indentation of four spaces and no newline at the end.
pub(crate) fn pretty(value: &Value) -> String {
    let mut out = Vec::new();
    let mut serializer =
        Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    "));
    value.serialize(&mut serializer).map_or_else(
        |_| value.to_string(),
        |()| String::from_utf8_lossy(&out).into_owned(),
    )
}

/// The result of 0.1.0 and 0.2.0: one address a family.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Families {
    ip4: Option<FamilyConfig>,
    ip6: Option<FamilyConfig>,
    dns: Dns,
}

#[derive(Deserialize)]
struct FamilyConfig {
    #[serde(deserialize_with = "net")]
    ip: IpNet,
    #[serde(default, deserialize_with = "maybe_addr")]
    gateway: Option<std::net::IpAddr>,
    #[serde(default)]
    routes: Vec<Route>,
}

impl From<Families> for CniResult {
    fn from(old: Families) -> Self {
        let mut result = Self {
            dns: old.dns,
            ..Self::default()
        };
        for family in [old.ip4, old.ip6].into_iter().flatten() {
            result.ips.push(IpConfig {
                interface: None,
                address: family.ip,
                gateway: family.gateway,
            });
            result.routes.extend(family.routes);
        }
        result
    }
}

fn render_families(result: &CniResult, version: Version) -> Result<Value, CniError> {
    let mut object = Map::new();
    object.insert("cniVersion".into(), version.name().into());
    for (key, is_v4) in [("ip4", true), ("ip6", false)] {
        let of_family = |net: &IpNet| net.addr().is_ipv4() == is_v4;
        let Some(ip) = result.ips.iter().find(|ip| of_family(&ip.address)) else {
            continue;
        };
        let mut family = json!({"ip": ip.address.to_string()});
        if let Some(gateway) = ip.gateway {
            family["gateway"] = gateway.to_string().into();
        }
        let routes: Vec<Value> = result
            .routes
            .iter()
            .filter(|route| of_family(&route.dst))
            .map(|route| json!(Route::new(route.dst, route.gw)))
            .collect();
        if !routes.is_empty() {
            family["routes"] = routes.into();
        }
        object.insert(key.into(), family);
    }
    if object.len() == 1 {
        return Err(
            CniError::failed("cannot convert: no valid IP addresses").details(format!(
                "CNI {version} results need one; use cniVersion 0.3.0 or later"
            )),
        );
    }
    object.insert("dns".into(), json!(result.dns));
    Ok(object.into())
}

fn render_versioned(result: &CniResult, version: Version) -> Value {
    let mut value = render_plain(result, version);
    let object = value.as_object_mut().expect("render_plain makes an object");
    for interface in object
        .get_mut("interfaces")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(interface) = interface.as_object_mut() {
            interface.retain(|key, _| matches!(key.as_str(), "name" | "mac" | "sandbox"));
        }
    }
    for ip in object
        .get_mut("ips")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        if let Some(members) = ip.as_object_mut() {
            let address = members
                .get("address")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let family = if address.contains(':') { "6" } else { "4" };
            let mut versioned = Map::new();
            versioned.insert("version".into(), family.into());
            versioned.append(members);
            *members = versioned;
        }
    }
    object.insert("dns".into(), json!(result.dns));
    value
}

fn render_plain(result: &CniResult, version: Version) -> Value {
    let mut object = Map::new();
    object.insert("cniVersion".into(), version.name().into());
    let lists = [
        ("interfaces", json!(result.interfaces)),
        ("ips", json!(result.ips)),
        ("routes", json!(result.routes)),
    ];
    for (key, list) in lists {
        if list.as_array().is_some_and(|items| !items.is_empty()) {
            object.insert(key.into(), list);
        }
    }
    if !result.dns.is_empty() {
        object.insert("dns".into(), json!(result.dns));
    }
    object.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Interface;
    use super::*;

    fn sample() -> CniResult {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        CniResult {
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: "02:00:00:00:00:01".into(),
                mtu: 1450,
                sandbox: "/run/netns/x".into(),
                ..Interface::default()
            }],
            ips: vec![
                IpConfig {
                    interface: Some(0),
                    address: net("10.1.2.3/24"),
                    gateway: Some("10.1.2.1".parse().unwrap()),
                },
                IpConfig {
                    interface: Some(0),
                    address: net("fd00::3/64"),
                    gateway: None,
                },
            ],
            routes: vec![
                Route::new(net("fd00::/48"), None),
                Route::new(net("0.0.0.0/0"), Some("10.1.2.1".parse().unwrap())),
            ],
            dns: Dns {
                nameservers: vec!["10.1.2.1".into()],
                ..Dns::default()
            },
        }
    }

    fn text(version: Version) -> String {
        render(&sample(), version).unwrap().to_string()
    }

    #[test]
    fn the_oldest_versions_have_one_address_a_family_with_its_routes() {
        assert_eq!(
            text(Version::V0_2_0),
            r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.2.3/24","gateway":"10.1.2.1","routes":[{"dst":"0.0.0.0/0","gw":"10.1.2.1"}]},"ip6":{"ip":"fd00::3/64","routes":[{"dst":"fd00::/48"}]},"dns":{"nameservers":["10.1.2.1"]}}"#
        );
    }

    #[test]
    fn versions_with_interfaces_print_the_family_of_each_address_and_always_dns() {
        let mut result = sample();
        result.dns = Dns::default();
        result.routes.clear();
        assert_eq!(
            render(&result, Version::V0_4_0).unwrap().to_string(),
            r#"{"cniVersion":"0.4.0","interfaces":[{"name":"eth0","mac":"02:00:00:00:00:01","sandbox":"/run/netns/x"}],"ips":[{"version":"4","interface":0,"address":"10.1.2.3/24","gateway":"10.1.2.1"},{"version":"6","interface":0,"address":"fd00::3/64"}],"dns":{}}"#
        );
    }

    #[test]
    fn the_newest_versions_have_sorted_keys_and_no_empty_members() {
        let mut result = sample();
        result.dns = Dns::default();
        result.ips.truncate(1);
        assert_eq!(
            render(&result, Version::V1_1_0).unwrap().to_string(),
            r#"{"cniVersion":"1.1.0","interfaces":[{"mac":"02:00:00:00:00:01","mtu":1450,"name":"eth0","sandbox":"/run/netns/x"}],"ips":[{"address":"10.1.2.3/24","gateway":"10.1.2.1","interface":0}],"routes":[{"dst":"fd00::/48"},{"dst":"0.0.0.0/0","gw":"10.1.2.1"}]}"#
        );
        assert_eq!(
            render(&CniResult::default(), Version::V1_0_0)
                .unwrap()
                .to_string(),
            r#"{"cniVersion":"1.0.0"}"#
        );
    }

    #[test]
    fn a_result_without_addresses_has_no_form_in_the_oldest_versions() {
        for version in [Version::V0_1_0, Version::V0_2_0] {
            let error = render(&CniResult::default(), version).unwrap_err();
            assert_eq!(error.msg, "cannot convert: no valid IP addresses");
        }
    }

    #[test]
    fn every_version_reads_back_what_it_can_express() {
        for version in Version::ALL {
            let read = read(&render(&sample(), version).unwrap(), Version::V0_1_0).unwrap();
            let mut expected = sample();
            if version < Version::V1_0_0 {
                expected.interfaces[0].mtu = 0;
            }
            if version < Version::V0_3_0 {
                expected.interfaces.clear();
                expected.ips.iter_mut().for_each(|ip| ip.interface = None);
                expected.routes.reverse();
            }
            assert_eq!(read, expected, "{version}");
        }
    }

    #[test]
    fn a_result_without_version_is_read_as_the_configurations() {
        let value = json!({"ip4": {"ip": "::ffff:10.1.2.3/120", "gateway": "::ffff:10.1.2.1"}});
        let result = read(&value, Version::V0_2_0).unwrap();
        assert_eq!(result.ips[0].address.to_string(), "10.1.2.3/24");
        assert_eq!(result.ips[0].gateway.unwrap().to_string(), "10.1.2.1");
        let error = read(&json!({"cniVersion": "9.0.0"}), Version::V0_2_0).unwrap_err();
        assert_eq!(error.kind, Kind::IncompatibleVersion);
    }

    #[test]
    fn text_is_indented_by_four_spaces_without_newline_at_the_end() {
        assert_eq!(
            pretty(&json!({"a": {"b": 1}})),
            "{\n    \"a\": {\n        \"b\": 1\n    }\n}"
        );
    }

    /// Members as results have them, often with sensible values, in any order and nesting.
    fn any_result() -> impl Strategy<Value = Value> {
        let any = || {
            crate::arbitrary::json(
                "address|version|interface|gateway|name|mac|sandbox|dst|gw|ip|routes|nameservers|mtu",
                "10\\.1\\.2\\.[0-9]{1,3}(/[0-9]{1,2})?|fd00::[0-9a-f]{1,4}(/[0-9]{1,3})?|4|6|[a-z0-9:./]{0,9}",
            )
        };
        let members = (any(), any(), any(), any(), any());
        members.prop_map(|(ips, interfaces, routes, dns, ip4)| {
            json!({"ips": ips, "interfaces": interfaces, "routes": routes, "dns": dns, "ip4": ip4})
        })
    }

    proptest! {
        #[test]
        fn any_result_is_read_or_refused_and_read_again_as_it_was_written(
            value in prop_oneof![any_result(), any_result().prop_map(|value| value["ips"].clone())],
        ) {
            for version in Version::ALL {
                let written = read(&value, version).and_then(|result| render(&result, version));
                if let Ok(written) = written {
                    let again = read(&written, version).and_then(|result| render(&result, version));
                    prop_assert_eq!(again.ok(), Some(written));
                }
            }
        }
    }
}
