use proptest::prelude::*;
use serde_json::json;

use super::*;

fn flannel() -> Prefix {
    Prefix::default()
}

fn attrs(kind: &str, public: &[&str], data: [Option<Value>; 2]) -> LeaseAttrs {
    let [v4, v6] = data;
    LeaseAttrs {
        public: Dual::of_addrs(public.iter().map(|text| text.parse().unwrap())),
        backend_type: kind.into(),
        data: Dual { v4, v6 }.map(|_, data: &Value| data.into()),
    }
}

fn vtep(last: u8) -> Option<Value> {
    Some(json!({"VNI": 1, "VtepMAC": format!("96:59:b2:3f:04:{last:02x}")}))
}

/// `name: value` lines without the prefix.
fn lines(annotations: &Annotations) -> Vec<String> {
    let lines = annotations.iter().map(|(key, value)| {
        let name = key.strip_prefix("flannel.alpha.coreos.com/").unwrap();
        format!("{name}: {value}")
    });
    lines.collect()
}

fn dual() -> LeaseAttrs {
    attrs(
        "vxlan",
        &["192.168.77.17", "fd00::17"],
        [vtep(0xee), vtep(0x66)],
    )
}

#[test]
fn stock_vxlan_is_announced_as_flannel_does() {
    let attrs = attrs("vxlan", &["192.168.77.17"], [vtep(0xee), None]);
    assert_eq!(
        lines(&render(&flannel(), &attrs)),
        [
            r#"backend-data: {"VNI":1,"VtepMAC":"96:59:b2:3f:04:ee"}"#,
            "backend-type: vxlan",
            "kube-subnet-manager: true",
            "public-ip: 192.168.77.17",
        ]
    );
}

#[test]
fn vxlan_for_ipv6_alone_leaves_the_ipv4_pair_out() {
    let attrs = attrs("vxlan", &["fd00::17"], [None, vtep(0x66)]);
    assert_eq!(
        lines(&render(&flannel(), &attrs)),
        [
            "backend-type: vxlan",
            r#"backend-v6-data: {"VNI":1,"VtepMAC":"96:59:b2:3f:04:66"}"#,
            "kube-subnet-manager: true",
            "public-ipv6: fd00::17",
        ]
    );
}

#[test]
fn host_gw_announces_null_data_and_an_unspecified_ipv4_address_where_there_is_none() {
    let attrs = attrs("host-gw", &["fd00::17"], [None, None]);
    assert_eq!(
        lines(&render(&flannel(), &attrs)),
        [
            "backend-data: null",
            "backend-type: host-gw",
            "backend-v6-data: null",
            "kube-subnet-manager: true",
            "public-ip: 0.0.0.0",
            "public-ipv6: fd00::17",
        ]
    );
}

#[test]
fn backends_without_ipv6_announce_none_and_alloc_has_no_name() {
    let attrs = attrs("", &["10.0.0.1", "fd00::1"], [None, None]);
    assert_eq!(
        lines(&render(&flannel(), &attrs)),
        [
            "backend-data: null",
            "backend-type: ",
            "kube-subnet-manager: true",
            "public-ip: 10.0.0.1",
        ]
    );
}

#[test]
fn what_is_announced_is_read_back() {
    for attrs in [
        dual(),
        attrs("vxlan", &["10.0.0.1"], [vtep(1), None]),
        attrs("vxlan", &["fd00::1"], [None, vtep(1)]),
        attrs("host-gw", &["10.0.0.1", "fd00::1"], [None, None]),
        attrs("", &["10.0.0.1"], [None, None]),
        attrs(
            "",
            &["10.0.0.1", "fd00::1"],
            [None, Some(json!({ "Port": 8285 }))],
        ),
    ] {
        let text = render(&flannel(), &attrs);
        assert_eq!(parse(&flannel(), &text), Ok(Some(attrs)));
    }
}

#[test]
fn a_node_that_does_not_say_true_takes_no_part() {
    let mut annotations = render(&flannel(), &dual());
    for value in ["false", "True", "1", ""] {
        annotations.insert(
            "flannel.alpha.coreos.com/kube-subnet-manager".into(),
            value.into(),
        );
        assert_eq!(parse(&flannel(), &annotations), Ok(None), "{value}");
    }
    assert_eq!(parse(&flannel(), &Annotations::new()), Ok(None));
}

#[test]
fn an_unreadable_annotation_is_named_with_what_it_says() {
    for (name, value, wanted) in [
        (
            "public-ip",
            "10.0.0",
            r#"public-ip is "10.0.0", want an IPv4 address"#,
        ),
        ("public-ip", "fd00::1", "want an IPv4 address"),
        ("public-ipv6", "10.0.0.1", "want an IPv6 address"),
        ("backend-data", "{\"VNI\":", "which is no JSON"),
    ] {
        let mut annotations = render(&flannel(), &dual());
        annotations.insert(flannel().key(name), value.into());
        let error = parse(&flannel(), &annotations).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn flannel_s_prefixes_are_completed_or_refused_as_there() {
    for (text, wanted) in [
        ("flannel.alpha.coreos.com", "flannel.alpha.coreos.com/"),
        ("org.com", "org.com/"),
        ("org.com/", "org.com/"),
        ("org.com/9", "org.com/9-"),
        ("org.com/a-", "org.com/a-"),
        ("a_b.c-d.e/x_y", "a_b.c-d.e/x_y-"),
    ] {
        assert_eq!(Prefix::parse(text).unwrap().to_string(), wanted);
    }
    for text in [
        "",
        "org",
        "org/",
        "org.COM",
        "org.com/PREFIX",
        "org.com/a/b",
        "a..b/",
        "org.com//",
    ] {
        assert!(Prefix::parse(text).is_err(), "{text}");
    }
}

#[test]
fn nothing_changes_where_all_is_as_wanted_and_foreign_annotations_stay() {
    let wanted = render(&flannel(), &dual());
    let mut present = wanted.clone();
    present.insert("example.com/other".into(), "kept".into());
    assert_eq!(changes(&flannel(), &wanted, &present), BTreeMap::new());
}

#[test]
fn missing_and_edited_annotations_are_restored_and_stale_ones_removed() {
    let wanted = render(&flannel(), &attrs("vxlan", &["10.0.0.1"], [vtep(1), None]));
    let mut present = render(&flannel(), &dual());
    present.remove("flannel.alpha.coreos.com/backend-type");
    let changed = changes(&flannel(), &wanted, &present);
    let gone = |name: &str| changed.get(&flannel().key(name)) == Some(&None);
    assert!(
        gone("backend-v6-data") && gone("public-ipv6"),
        "{changed:?}"
    );
    assert!(changed.contains_key(&flannel().key("backend-type")));
    assert!(changed.contains_key(&flannel().key("public-ip")));
    assert!(!changed.contains_key(&flannel().key("kube-subnet-manager")));
}

#[test]
fn a_change_of_one_family_touches_the_other_so_that_flannel_notices() {
    let before = render(&flannel(), &dual());
    let mut moved = dual();
    moved.public.v6 = Some("fd00::18".parse().unwrap());
    let wanted = render(&flannel(), &moved);
    let mut present = before;
    for blank in [true, false] {
        let changed = changes(&flannel(), &wanted, &present);
        let text = changed[&flannel().key("backend-data")].clone().unwrap();
        assert_eq!(text.starts_with(' '), blank, "{text:?}");
        assert_eq!(changed.len(), 2);
        // Applied, it means what was wanted, and nothing more is to be done.
        for (key, value) in changed {
            present.insert(key, value.unwrap());
        }
        assert_eq!(parse(&flannel(), &present), Ok(Some(moved.clone())));
        assert_eq!(changes(&flannel(), &wanted, &present), BTreeMap::new());
        present.insert(flannel().key("public-ipv6"), "fd00::17".into());
    }
}

#[test]
fn overwrites_and_wishes_are_read_by_family_and_a_wrong_one_harms_no_other() {
    let annotations = Annotations::from([
        (
            flannel().key("public-ip-overwrite"),
            "203.0.113.5".to_owned(),
        ),
        (
            flannel().key("public-ipv6-overwrite"),
            "203.0.113.5".to_owned(),
        ),
        (flannel().key("node-public-ipv6"), "2001:db8::5".to_owned()),
    ]);
    let found = overwrites(&flannel(), &annotations);
    assert_eq!(
        found.addrs,
        Dual::of_addrs(["203.0.113.5".parse().unwrap()])
    );
    assert_eq!(found.wrong.len(), 1);
    let found = wishes(&flannel(), &annotations);
    assert_eq!(
        found.addrs,
        Dual::of_addrs(["2001:db8::5".parse().unwrap()])
    );
}

#[test]
fn pod_cidrs_come_in_any_order_and_one_of_a_family() {
    let dual = subnets(["fd00:1::/64", "10.244.1.0/24"]).unwrap();
    assert_eq!(dual, subnets(["10.244.1.0/24", "fd00:1::/64"]).unwrap());
    assert!(dual.has(Family::V4) && dual.has(Family::V6));
    assert!(subnets(["10.244.1.0/24", "10.244.2.0/24"]).is_err());
    assert!(subnets(["10.244.1.0"]).is_err());
    assert_eq!(subnets([]), Ok(Dual::default()));
}

#[test]
fn taking_no_part_removes_what_a_node_wrote_and_nothing_else() {
    let mut present = render(&flannel(), &dual());
    present.insert(flannel().key("public-ip-overwrite"), "10.0.0.9".into());
    let removal = removal(&flannel(), &present);
    assert_eq!(removal.len(), 6);
    assert!(!removal.contains_key(&flannel().key("public-ip-overwrite")));
}

proptest! {
    #[test]
    fn no_annotation_makes_it_panic(values in prop::collection::vec(".*", 6)) {
        let mut present: Annotations = WRITTEN
            .iter()
            .zip(values)
            .map(|(name, value)| (flannel().key(name), value))
            .collect();
        present.insert(flannel().key(MANAGED), "true".into());
        let _ = parse(&flannel(), &present);
        let wanted = render(&flannel(), &dual());
        for (key, value) in changes(&flannel(), &wanted, &present) {
            match value {
                Some(value) => present.insert(key, value),
                None => present.remove(&key),
            };
        }
        prop_assert_eq!(parse(&flannel(), &present), Ok(Some(dual())));
    }
}
