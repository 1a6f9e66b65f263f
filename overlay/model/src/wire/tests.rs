use proptest::prelude::*;
use serde_json::json;

use super::*;

fn nets(v4: Option<&str>, v6: Option<&str>) -> SubnetKey {
    SubnetKey(Dual {
        v4: v4.map(|net| net.parse().unwrap()),
        v6: v6.map(|net| net.parse().unwrap()),
    })
}

fn attrs(v4: Option<&str>, v6: Option<&str>) -> LeaseAttrs {
    LeaseAttrs {
        public: Dual {
            v4: v4.map(|addr| addr.parse().unwrap()),
            v6: v6.map(|addr| addr.parse().unwrap()),
        },
        ..LeaseAttrs::default()
    }
}

#[test]
fn keys_read_and_print_as_flannel_writes_them() {
    for (text, key) in [
        ("10.5.34.0-24", nets(Some("10.5.34.0/24"), None)),
        (
            "10.12.13.0-24&fd00:12:13::-56",
            nets(Some("10.12.13.0/24"), Some("fd00:12:13::/56")),
        ),
        (
            "0.0.0.0-0&fd00:5:34::-64",
            nets(None, Some("fd00:5:34::/64")),
        ),
        (
            "10.0.0.0-31&fe80::2-127",
            nets(Some("10.0.0.0/31"), Some("fe80::2/127")),
        ),
    ] {
        assert_eq!(text.parse(), Ok(key), "{text}");
        assert_eq!(key.to_string(), text);
    }
}

#[test]
fn a_key_that_flannel_refuses_is_refused() {
    for text in include_str!("../../tests/data/invalid_keys.txt").lines() {
        assert!(text.parse::<SubnetKey>().is_err(), "{text}");
    }
}

#[test]
fn a_second_spelling_of_a_subnet_is_refused_with_the_right_one() {
    for (text, want) in [
        ("10.5.34.7-24", "10.5.34.0-24"),
        ("10.5.34.0-024", "10.5.34.0-24"),
        ("10.5.34.0-+24", "10.5.34.0-24"),
        ("10.5.34.0-24&FD00:5:34::-64", "10.5.34.0-24&fd00:5:34::-64"),
        (
            "10.5.34.0-24&fd00:5:34:0::-64",
            "10.5.34.0-24&fd00:5:34::-64",
        ),
    ] {
        let error = text.parse::<SubnetKey>().unwrap_err();
        assert!(
            error.to_string().ends_with(&format!("(want {want})")),
            "{error}"
        );
    }
}

#[test]
fn values_are_written_and_read_back_byte_for_byte() {
    for text in include_str!("../../tests/data/lease_values.txt").lines() {
        let attrs = parse_attrs(text.as_bytes()).unwrap();
        assert_eq!(format_attrs(&attrs), text);
    }
}

#[test]
fn a_vxlan_value_says_what_it_should() {
    let mut want = attrs(Some("192.168.64.3"), None);
    want.backend_type = "vxlan".into();
    want.data.v4 = Some(json!({"VNI": 1, "VtepMAC": "c6:d2:32:6f:8f:44"}).into());
    assert_eq!(
        format_attrs(&want),
        r#"{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}"#
    );
    want.public = attrs(None, Some("fd00::3")).public;
    want.data = Dual {
        v4: None,
        v6: want.data.v4.take(),
    };
    assert_eq!(
        format_attrs(&want),
        r#"{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}"#
    );
}

#[test]
fn characters_that_go_escapes_are_escaped() {
    let mut attrs = attrs(Some("10.0.0.1"), None);
    attrs.data.v4 = Some(json!("a<b>&\u{2028}").into());
    let text = format_attrs(&attrs);
    assert!(
        text.ends_with(r#""BackendData":"a\u003cb\u003e\u0026\u2028"}"#),
        "{text}"
    );
    assert_eq!(parse_attrs(text.as_bytes()), Ok(attrs));
}

#[test]
fn what_flannel_writes_carelessly_is_absorbed() {
    for (text, want) in [
        (r#"{}"#, attrs(None, None)),
        (
            r#"{"PublicIP":"0.0.0.0","PublicIPv6":null,"BackendType":""}"#,
            attrs(None, None),
        ),
        (
            r#"{"publicip":"10.0.0.1","BackendData":null,"BackendV6Data":null,"x":[1]}"#,
            attrs(Some("10.0.0.1"), None),
        ),
        (
            r#"{"PublicIP":"10.0.0.1","PublicIPv6":"10.0.0.2"}"#,
            attrs(Some("10.0.0.1"), Some("::ffff:10.0.0.2")),
        ),
        (
            " {\"PublicIP\":\"10.0.0.1\",\"BackendType\":null}\n",
            attrs(Some("10.0.0.1"), None),
        ),
    ] {
        assert_eq!(parse_attrs(text.as_bytes()), Ok(want), "{text}");
    }
}

#[test]
fn a_value_of_the_wrong_shape_is_refused() {
    for text in [
        "",
        "null",
        "y",
        r#"["PublicIP"]"#,
        r#"{"PublicIP":null}"#,
        r#"{"PublicIP":1}"#,
        r#"{"PublicIP":""}"#,
        r#"{"PublicIP":"10.0.0"}"#,
        r#"{"PublicIP":"fd00::1"}"#,
        r#"{"PublicIP":"10.0.0.1/24"}"#,
        r#"{"PublicIPv6":"x"}"#,
        r#"{"BackendType":1}"#,
        r#"{"PublicIP":"10.0.0.1"} {}"#,
    ] {
        assert!(parse_attrs(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn etcd_keys_are_joined_as_go_joins_paths() {
    for (prefix, want) in [
        ("/coreos.com/network", "/coreos.com/network/config"),
        ("/coreos.com/network/", "/coreos.com/network/config"),
        ("//a//b/./c/../d", "/a/b/d/config"),
        ("relative", "relative/config"),
        ("../a", "../a/config"),
        ("/../a", "/a/config"),
        ("/", "/config"),
        ("", "config"),
    ] {
        assert_eq!(EtcdKeys::new(prefix).config(), want, "{prefix}");
    }
}

#[test]
fn only_keys_below_the_subnets_folder_are_leases() {
    let keys = EtcdKeys::new("/n");
    let key = nets(Some("10.5.34.0/24"), None);
    assert_eq!(keys.subnet(&key), "/n/subnets/10.5.34.0-24");
    assert_eq!(keys.parse_subnet(b"/n/subnets/10.5.34.0-24"), Some(Ok(key)));
    assert_eq!(keys.parse_subnet(b"/n/subnets-old/10.5.34.0-24"), None);
    assert!(matches!(
        keys.parse_subnet(b"/n/subnets/\xff"),
        Some(Err(WireError::Key(_)))
    ));
    assert!(matches!(
        keys.parse_subnet(b"/n/subnets/"),
        Some(Err(WireError::Key(_)))
    ));
}

fn any_key() -> impl Strategy<Value = SubnetKey> {
    let v4 = prop::option::of((any::<u32>(), 1u8..=31));
    let v6 = prop::option::of((any::<u128>(), 1u8..=127));
    (v4, v6)
        .prop_filter("a key has a family", |(v4, v6)| {
            v4.is_some() || v6.is_some()
        })
        .prop_map(|(v4, v6)| {
            let v4 = v4.map(|(addr, len)| IpNet::new(Ipv4Addr::from(addr).into(), len));
            let v6 = v6.map(|(addr, len)| IpNet::new(Ipv6Addr::from(addr).into(), len));
            SubnetKey(Dual {
                v4: v4.map(|net| net.unwrap().trunc()),
                v6: v6.map(|net| net.unwrap().trunc()),
            })
        })
}

fn any_attrs() -> impl Strategy<Value = LeaseAttrs> {
    let data = || {
        prop::option::of(
            (any::<u32>(), ".{0,12}").prop_map(|(n, s)| json!({"N": n, "S": s}).into()),
        )
    };
    (1u32.., prop::option::of(1u128..), ".{0,12}", data(), data()).prop_map(
        |(v4, v6, backend_type, data4, data6)| LeaseAttrs {
            public: Dual {
                v4: Some(Ipv4Addr::from(v4).into()),
                v6: v6.map(|addr| Ipv6Addr::from(addr).into()),
            },
            backend_type,
            data: Dual {
                v4: data4,
                v6: data6,
            },
        },
    )
}

proptest! {
    #[test]
    fn every_key_survives_a_round_trip(key in any_key()) {
        prop_assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn what_parses_as_a_key_prints_as_it_stood(text in "[0-9a-f.:&-]{0,40}") {
        if let Ok(key) = text.parse::<SubnetKey>() {
            prop_assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn every_value_survives_a_round_trip(attrs in any_attrs()) {
        prop_assert_eq!(parse_attrs(format_attrs(&attrs).as_bytes()), Ok(attrs));
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), prefix in ".*") {
        let _ = parse_attrs(&bytes);
        let _ = EtcdKeys::new(&prefix).parse_subnet(&bytes);
    }

    #[test]
    fn no_text_makes_the_key_reader_panic(text in ".*") {
        let _ = text.parse::<SubnetKey>();
    }
}

#[test]
fn an_entry_that_is_much_longer_than_any_lease_is_refused_unread() {
    let value = |length: usize| {
        let data = "x".repeat(length);
        format!(r#"{{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":"{data}"}}"#)
    };
    assert!(parse_attrs(value(LARGEST - 200).as_bytes()).is_ok());
    let error = parse_attrs(value(20 << 20).as_bytes()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("20971") && text.len() < 200, "{text}");
}

#[test]
fn an_entry_that_is_kept_longer_than_it_came_is_refused() {
    let numbers = vec!["1e15"; 2_000].join(",");
    let text = format!(r#"{{"PublicIP":"192.0.2.1","BackendV6Data":[{numbers}]}}"#);
    assert!(text.len() < LARGEST);
    assert!(matches!(
        parse_attrs(text.as_bytes()),
        Err(WireError::Size(kept)) if kept > LARGEST
    ));
}

#[test]
fn what_is_quoted_of_a_wrong_entry_is_short() {
    let long = "9".repeat(10_000);
    for error in [
        long.parse::<SubnetKey>().unwrap_err(),
        parse_attrs(format!(r#"{{"PublicIP":"{long}"}}"#).as_bytes()).unwrap_err(),
        parse_attrs(format!(r#"{{"PublicIP":{{"{long}":1}}}}"#).as_bytes()).unwrap_err(),
        parse_attrs(format!(r#"{{"PublicIP":"\u001b[2J\n{long}"}}"#).as_bytes()).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.len() < 400 && !text.contains('\n'), "{text}");
    }
}
