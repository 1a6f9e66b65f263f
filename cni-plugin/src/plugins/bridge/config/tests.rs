use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::spec::Version;

fn parse_with(keys: Value, args: &str, has_ipam: bool) -> Result<BridgeConfig, String> {
    let mut value = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge"});
    for (key, member) in keys.as_object().unwrap() {
        value[key] = member.clone();
    }
    let conf = NetConf::from_value(value, &Version::ALL).unwrap();
    BridgeConfig::parse(&conf, &Args::parse(args).unwrap(), has_ipam)
        .map_err(|error| error.to_string())
}

fn parse(keys: Value) -> Result<BridgeConfig, String> {
    parse_with(keys, "", false)
}

fn trunk(ranges: Value) -> Result<Vec<u16>, String> {
    let config = parse(json!({"vlanTrunk": ranges}))?;
    Ok(config.vlans.map_or(Vec::new(), |vlans| vlans.trunk))
}

#[test]
fn defaults_are_those_of_the_reference() {
    let config = parse(json!({})).unwrap();
    assert_eq!(config.bridge, "cni0");
    assert!(!config.gateway && !config.default_gateway && !config.ip_masq && !config.dad);
    assert!(config.container_up && config.vlans.is_none() && config.mtu.is_none());
    assert!(parse(json!({"isDefaultGateway": true})).unwrap().gateway);
    let vlans = parse(json!({"vlan": 5})).unwrap().vlans.unwrap();
    assert!(!vlans.keep_default, "the port is in its VLAN alone");
}

#[test]
fn trunks_expand_to_lists_of_vlans() {
    for (ranges, expected) in [
        (json!([]), vec![]),
        (json!([{"minID": 1, "maxID": 3}]), vec![1, 2, 3]),
        (json!([{"id": 5}]), vec![5]),
        (
            json!([{"id": 99}, {"minID": 15, "maxID": 17}]),
            vec![15, 16, 17, 99],
        ),
        (json!([{"id": 7}, {"id": 7}]), vec![7]),
    ] {
        assert_eq!(trunk(ranges), Ok(expected));
    }
}

#[test]
fn wrong_vlans_are_refused_with_the_words_of_the_reference() {
    let together = "minID and maxID should be configured simultaneously";
    for (ranges, expected) in [
        (
            json!([{"minID": 16}]),
            format!("{together}, maxID is missing"),
        ),
        (
            json!([{"maxID": 16}]),
            format!("{together}, minID is missing"),
        ),
        (
            json!([{"minID": -1, "maxID": 3}]),
            "incorrect trunk minID parameter".to_owned(),
        ),
        (
            json!([{"minID": 4095, "maxID": 3}]),
            "incorrect trunk minID parameter".to_owned(),
        ),
        (
            json!([{"minID": 1, "maxID": 4095}]),
            "incorrect trunk maxID parameter".to_owned(),
        ),
        (
            json!([{"minID": 1, "maxID": -2}]),
            "incorrect trunk maxID parameter".to_owned(),
        ),
        (
            json!([{"id": 4095}]),
            "incorrect trunk id parameter".to_owned(),
        ),
        (
            json!([{"id": -1}]),
            "incorrect trunk id parameter".to_owned(),
        ),
        (
            json!([{"minID": 16, "maxID": 15}]),
            "minID is greater than maxID in trunk parameter".to_owned(),
        ),
    ] {
        let error = trunk(ranges).unwrap_err();
        assert!(error.starts_with(&expected), "{error}");
    }
    assert!(parse(json!({"vlan": 0})).is_ok());
    for vlan in [-100, 5000] {
        let error = parse(json!({"vlan": vlan})).unwrap_err();
        assert_eq!(
            error,
            format!("invalid VLAN ID {vlan} (must be between 0 and 4094)")
        );
    }
}

#[test]
fn keys_that_exclude_each_other_are_refused() {
    assert_eq!(
        parse(json!({"hairpinMode": true, "promiscMode": true})).unwrap_err(),
        "cannot set hairpin mode and promiscuous mode at the same time"
    );
    assert_eq!(
        parse_with(json!({"disableContainerInterface": true}), "", true).unwrap_err(),
        "cannot use IPAM when DisableContainerInterface flag is set"
    );
    assert_eq!(
        parse(json!({"ipMasqBackend": "pf"})).unwrap_err(),
        "unknown ipmasq backend \"pf\""
    );
    assert!(parse(json!({"mtu": -1})).is_err());
    assert!(parse(json!({"bridge": "a/b"})).is_err());
}

#[test]
fn a_hardware_address_comes_from_three_places() {
    let mac = |keys: Value, args: &str| parse_with(keys, args, false).map(|config| config.mac);
    let all = json!({
        "args": {"cni": {"mac": "02:00:00:00:00:02"}},
        "runtimeConfig": {"mac": "02:00:00:00:00:03"},
    });
    let args = json!({"args": {"cni": {"mac": "02:00:00:00:00:02"}}});
    let of = |last: u8| Ok(Some(Mac([2, 0, 0, 0, 0, last])));
    assert_eq!(mac(json!({}), ""), Ok(None));
    assert_eq!(mac(json!({}), "MAC=02:00:00:00:00:01"), of(1));
    assert_eq!(mac(args, "MAC=02:00:00:00:00:01"), of(2));
    assert_eq!(mac(all, "MAC=02:00:00:00:00:01"), of(3));
    assert!(
        mac(json!({}), "MAC=01:00:00:00:00:01").is_err(),
        "a group's"
    );
    assert!(mac(json!({}), "MAC=x").is_err());
}

proptest! {
    #[test]
    fn no_value_under_a_known_key_makes_the_reader_panic(
        key in "bridge|mtu|vlan|vlanTrunk|dns|hairpinMode|args|runtimeConfig|ipMasqBackend",
        number in any::<i64>(),
        text in ".{0,20}",
    ) {
        for value in [json!(number), json!(text), json!([{"id": number}]), json!({"mac": text})] {
            if let Ok(conf) = NetConf::from_value(json!({"name": "n", key.clone(): value}), &Version::ALL) {
                let _ = BridgeConfig::parse(&conf, &Args::default(), false);
            }
        }
    }
}
