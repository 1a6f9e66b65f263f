use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<NetworkConfig, ConfigError> {
    NetworkConfig::parse(text).map(|(config, _)| config)
}

fn pool(text: &str, family: Family) -> Pool {
    parse(text).unwrap().pools.get(family).unwrap().clone()
}

#[test]
fn defaults_skip_the_first_subnet_and_choose_a_24() {
    let pool = pool(r#"{"network": "10.3.0.0/16"}"#, Family::V4);
    assert_eq!(pool.subnet_len, 24);
    assert_eq!(pool.min.to_string(), "10.3.1.0");
    assert_eq!(pool.max.to_string(), "10.3.255.0");
}

#[test]
fn ipv6_defaults_skip_the_first_subnet_and_choose_a_64() {
    let text = r#"{"EnableIPv4":false,"EnableIPv6":true,"ipv6Network":"fc00::/48"}"#;
    let pool = pool(text, Family::V6);
    assert_eq!(pool.subnet_len, 64);
    assert_eq!(pool.min.to_string(), "fc00:0:0:1::");
    assert_eq!(pool.max.to_string(), "fc00:0:0:ffff::");
}

#[test]
fn given_bounds_and_length_are_kept() {
    let text =
        r#"{"Network":"10.3.0.0/16","SubnetMin":"10.3.5.0","SubnetMax":"10.3.8.0","SubnetLen":28}"#;
    let pool = pool(text, Family::V4);
    assert_eq!(pool.subnet_len, 28);
    assert_eq!(
        (pool.min.to_string(), pool.max.to_string()),
        ("10.3.5.0".into(), "10.3.8.0".into())
    );
}

#[test]
fn a_small_network_gets_subnets_two_bits_longer() {
    assert_eq!(
        pool(r#"{"Network":"10.3.0.0/26"}"#, Family::V4).subnet_len,
        28
    );
    assert_eq!(
        pool(r#"{"Network":"10.3.0.0/22"}"#, Family::V4).subnet_len,
        24
    );
    assert_eq!(
        pool(r#"{"Network":"10.3.0.0/23"}"#, Family::V4).subnet_len,
        25
    );
}

#[test]
fn host_bits_of_the_network_are_masked_off() {
    assert_eq!(
        pool(r#"{"Network":"10.3.7.9/16"}"#, Family::V4)
            .network
            .to_string(),
        "10.3.0.0/16"
    );
}

#[test]
fn an_absent_backend_means_udp_and_a_type_is_folded_to_lower_case() {
    assert_eq!(
        parse(r#"{"Network":"10.3.0.0/16"}"#).unwrap().backend_type,
        "udp"
    );
    let text = r#"{"Network":"10.3.0.0/16","backend":{"type":"VXLAN"}}"#;
    assert_eq!(parse(text).unwrap().backend_type, "vxlan");
    let text = r#"{"Network":"10.3.0.0/16","Backend":null}"#;
    assert_eq!(parse(text).unwrap().backend_type, "");
}

#[test]
fn unknown_keys_are_reported_not_refused() {
    let (_, unknown) = NetworkConfig::parse(r#"{"Network":"10.3.0.0/16","Netwrok":"x"}"#).unwrap();
    assert_eq!(unknown, ["Netwrok (Network?)"]);
}

#[test]
fn every_wrong_value_is_named_with_its_key_and_what_is_allowed() {
    for (text, parts) in [
        ("[]", &["object"][..]),
        ("{} x", &["object"]),
        ("{}", &["Network", "IPv4", "10.244.0.0/16"]),
        (
            r#"{"Netwrok":"10.3.0.0/16","x":1}"#,
            &["Network is missing", "Netwrok (Network?)", "x"],
        ),
        (r#"{"Network":null}"#, &["Network", "null"]),
        (r#"{"Network":""}"#, &["Network", "\"\""]),
        (
            r#"{"Network":"10.3.0.0"}"#,
            &["Network", "10.3.0.0", "network such as"],
        ),
        (
            r#"{"Network":"fc00::/48"}"#,
            &["Network", "fc00::/48", "IPv4"],
        ),
        (
            r#"{"Network":"10.3.0.0/29"}"#,
            &["10.3.0.0/29", "too small", "/28"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","SubnetLen":"24"}"#,
            &["SubnetLen", "\"24\"", "whole number"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","SubnetLen":24.0}"#,
            &["SubnetLen", "24.0"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","SubnetLen":31}"#,
            &["SubnetLen", "31", "30"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","SubnetLen":17}"#,
            &["SubnetLen", "17", "18"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","SubnetMin":"10.4.0.0"}"#,
            &["SubnetMin", "outside", "10.3.0.0/16"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","SubnetMax":"10.3.1.7"}"#,
            &["SubnetMax", "10.3.1.7", "/24"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","SubnetMin":"10.3.9.0","SubnetMax":"10.3.5.0"}"#,
            &["SubnetMin", "above"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","SubnetMin":"x"}"#,
            &["SubnetMin", "\"x\"", "IPv4 address"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","EnableIPv6":"yes"}"#,
            &["EnableIPv6", "true or false"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","EnableIPv6":true}"#,
            &["IPv6Network", "missing"],
        ),
        (r#"{"EnableIPv4":false}"#, &["EnableIPv4", "EnableIPv6"]),
        (
            r#"{"Network":"10.3.0.0/16","Backend":"vxlan"}"#,
            &["Backend", "object"],
        ),
        (
            r#"{"Network":"10.3.0.0/16","Backend":{"Type":1}}"#,
            &["Type", "1"],
        ),
        (
            r#"{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/126"}"#,
            &["IPv6Network", "too small"],
        ),
    ] {
        let error = parse(text).expect_err(text).to_string();
        for part in parts {
            assert!(error.contains(part), "{text}: {error:?} lacks {part:?}");
        }
    }
}

#[test]
fn a_network_that_no_pod_can_be_in_is_refused_with_what_it_holds() {
    for (network, what) in [
        ("224.0.0.0/8", "multicast"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("0.0.0.0/8", "of no host"),
        ("240.0.0.0/8", "reserved"),
        ("255.255.0.0/16", "broadcast"),
        ("128.0.0.0/1", "link-local"),
        ("10.0.0.0/7", "larger than any private network"),
    ] {
        let error = parse(&format!(r#"{{"Network":"{network}"}}"#)).expect_err(network);
        let error = error.to_string();
        assert!(error.contains(what) && error.contains(network), "{error}");
    }
    for (network, what) in [
        ("ff00::/16", "multicast"),
        ("fe80::/48", "link-local"),
        ("::/32", "of no host"),
        ("::ffff:10.0.0.0/112", "disguise"),
        ("2000::/3", "larger than any private network"),
    ] {
        let text = format!(r#"{{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"{network}"}}"#);
        let error = parse(&text).expect_err(network).to_string();
        assert!(error.contains(what), "{network}: {error}");
    }
    for network in [
        "10.0.0.0/8",
        "100.64.0.0/10",
        "172.16.0.0/12",
        "198.18.0.0/15",
    ] {
        assert!(
            parse(&format!(r#"{{"Network":"{network}"}}"#)).is_ok(),
            "{network}"
        );
    }
}

#[test]
fn where_the_store_cuts_the_network_no_key_for_subnets_must_fit() {
    let both = |v4: &str, v6: &str| {
        format!(r#"{{"Network":"10.42.0.0/{v4},"EnableIPv6":true,"IPv6Network":"fd00:42::/{v6}}}"#)
    };
    for text in [
        both(r#"29""#, r#"56""#),
        both(r#"32""#, r#"128""#),
        both(r#"16","SubnetLen":31"#, r#"56","IPv6SubnetLen":127"#),
        both(r#"16","SubnetLen":12"#, r#"56","IPv6SubnetLen":1"#),
        both(r#"16","SubnetLen":99"#, r#"56","IPv6SubnetLen":999"#),
        both(
            r#"16","SubnetMin":"10.9.0.0""#,
            r#"56","IPv6SubnetMin":"fd09::""#,
        ),
        both(
            r#"16","SubnetMax":"10.42.7.9""#,
            r#"56","IPv6SubnetMax":"fd00:42::7""#,
        ),
        both(
            r#"16","SubnetMin":"10.42.9.0","SubnetMax":"10.42.5.0""#,
            r#"56","IPv6SubnetMin":"fd00:42:0:9::","IPv6SubnetMax":"fd00:42:0:5::""#,
        ),
    ] {
        let (config, _) = NetworkConfig::parse_for(Subnets::Assigned, &text).expect(&text);
        for pool in config.pools.values() {
            assert_eq!(pool.min, pool.network.network(), "{text}");
            assert_eq!(pool.max, pool.network.broadcast(), "{text}");
        }
        assert!(NetworkConfig::parse(&text).is_err(), "{text}");
    }
    // A value that is none is wrong there too, as in flannel, and so is a network that no pod can be in.
    for text in [
        r#"{"Network":"10.42.0.0/16","SubnetLen":"24"}"#,
        r#"{"Network":"10.42.0.0/16","SubnetMin":"x"}"#,
        r#"{"Network":"224.0.0.0/8"}"#,
        "{}",
    ] {
        assert!(
            NetworkConfig::parse_for(Subnets::Assigned, text).is_err(),
            "{text}"
        );
    }
}

#[test]
fn an_ipv6_bound_may_be_null() {
    let text =
        r#"{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48","IPv6SubnetMin":null}"#;
    assert_eq!(pool(text, Family::V6).min.to_string(), "fc00:0:0:1::");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".*") {
        let _ = NetworkConfig::parse(&text);
    }

    #[test]
    fn no_value_makes_it_panic(
        addr in any::<u32>(), len in 0_u8..=33, subnet_len in any::<u64>(), min in any::<u32>(), max in any::<u32>(),
    ) {
        let ip = |bits: u32| std::net::Ipv4Addr::from(bits);
        let text = format!(
            r#"{{"Network":"{}/{len}","SubnetLen":{subnet_len},"SubnetMin":"{}","SubnetMax":"{}"}}"#,
            ip(addr), ip(min), ip(max),
        );
        let _ = parse(&text);
        let text = format!(r#"{{"Network":"{}/{len}","SubnetLen":{}}}"#, ip(addr), subnet_len % 33);
        if let Ok(config) = parse(&text) {
            let pool = config.pools.v4.unwrap();
            prop_assert!(pool.network.contains(&pool.min) && pool.network.contains(&pool.max));
            prop_assert!(pool.min <= pool.max);
        }
    }

    #[test]
    fn no_ipv6_value_makes_it_panic(addr in any::<u128>(), len in 0_u8..=129, subnet_len in 0_u64..=130) {
        let addr = std::net::Ipv6Addr::from(addr);
        let text = format!(
            r#"{{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"{addr}/{len}","IPv6SubnetLen":{subnet_len}}}"#
        );
        let _ = parse(&text);
    }
}

#[test]
fn what_is_no_json_object_is_named_for_what_it_is() {
    for (text, words) in [
        ("", "it is empty"),
        ("\u{feff}{\"Network\":\"10.3.0.0/16\"}", "byte order mark"),
        ("{\0\"\0N\0", "UTF-16"),
        ("Network: 10.3.0.0/16\nBackend:\n  Type: vxlan\n", "YAML"),
        ("---\nNetwork: 10.3.0.0/16", "YAML"),
        ("\"{\\\"Network\\\":\\\"10.3.0.0/16\\\"}\"", "JSON text"),
        ("'{\"Network\":\"10.3.0.0/16\"}'", "quotes around"),
        ("{\\\"Network\\\":\\\"10.3.0.0/16\\\"}", "escaped"),
        ("{Network:10.3.0.0/16}", "no quotes"),
        ("{", "EOF"),
        ("eyJOZXR3b3JrIjoiMTAuMy4wLjAvMTYifQ==", "base64"),
        ("{\"Network\":\"10.3.0.0/16\"", "EOF"),
        ("[1]", "not a JSON object"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text:?}: {error}");
    }
}
