use proptest::prelude::*;

use super::*;

fn mapping(protocol: L4Proto, host_addr: Option<&str>, ports: (u16, u16)) -> PortMapping {
    PortMapping {
        protocol,
        host_addr: host_addr.map(|addr| addr.parse().unwrap()),
        host_port: ports.0,
        container_port: ports.1,
    }
}

fn publication(ports: Vec<PortMapping>) -> Publication {
    Publication {
        addresses: ["10.1.2.3/24", "fd00::3/64"]
            .map(|a| a.parse().unwrap())
            .into(),
        ports,
        masquerade: PortMasquerade::Needed,
        ..Publication::default()
    }
}

fn texts(publication: &Publication) -> Vec<String> {
    let claims = publication.claims().unwrap();
    claims
        .iter()
        .map(|(claim, (address, port))| format!("{claim} {} {port}", address.addr()))
        .collect()
}

#[test]
fn a_mapping_without_address_is_for_both_families_and_an_unspecified_one_for_its_own() {
    let of = |addr| texts(&publication(vec![mapping(L4Proto::Tcp, addr, (8080, 80))]));
    let (v4, v6) = ("tcp 0.0.0.0:8080 10.1.2.3 80", "tcp [::]:8080 fd00::3 80");
    assert_eq!(of(None), [v4, v6]);
    assert_eq!(of(Some("0.0.0.0")), [v4]);
    assert_eq!(of(Some("::")), [v6]);
    assert_eq!(of(Some("192.0.2.1")), ["tcp 192.0.2.1:8080 10.1.2.3 80"]);
    assert_eq!(
        of(Some("2001:db8::1")),
        ["tcp [2001:db8::1]:8080 fd00::3 80"]
    );
}

#[test]
fn what_another_mapping_covers_is_left_out_and_what_contradicts_it_is_refused() {
    let with = |to| {
        publication(vec![
            mapping(L4Proto::Udp, Some("192.0.2.1"), (53, to)),
            mapping(L4Proto::Udp, Some("0.0.0.0"), (53, 53)),
        ])
    };
    assert_eq!(texts(&with(53)), ["udp 0.0.0.0:53 10.1.2.3 53"]);
    let error = with(5353).claims().unwrap_err();
    assert_eq!(
        error.to_string(),
        "host port udp 192.0.2.1:53 is mapped to both 53 and 5353"
    );
}

#[test]
fn ports_in_a_row_are_one_range_of_connections_to_masquerade() {
    let ports = [20, 22, 21, 30].map(|port| mapping(L4Proto::Tcp, Some("0.0.0.0"), (port, 80)));
    let owner = Owner::new("n", "c", "eth0");
    let elements = publication(ports.into()).elements(&owner).unwrap();
    let ranges: Vec<(u8, u16, u16)> = elements
        .iter()
        .filter(|(set, _)| *set == "hairpin4")
        .map(|(_, element)| {
            let port = |key: &[u8]| u16::from_be_bytes([key[12], key[13]]);
            let end = element.key_end.as_deref().unwrap();
            (element.key[0], port(&element.key), port(end))
        })
        .collect();
    assert_eq!(ranges, [(10, 20, 22), (10, 30, 30)]);
}

#[test]
fn the_loopback_leads_on_where_a_mapping_says_so_and_sources_may_change() {
    let target = |addr, masquerade| {
        let ports = vec![mapping(L4Proto::Tcp, addr, (8080, 80))];
        let publication = Publication {
            masquerade,
            ..publication(ports)
        };
        publication.loopback_target().map(|addr| addr.to_string())
    };
    let found = Some("10.1.2.3".to_owned());
    assert_eq!(target(None, PortMasquerade::Needed), found);
    assert_eq!(target(Some("127.0.0.1"), PortMasquerade::All), found);
    assert_eq!(target(None, PortMasquerade::Off), None);
    assert_eq!(target(Some("192.0.2.1"), PortMasquerade::Needed), None);
    assert_eq!(target(Some("::"), PortMasquerade::Needed), None);
}

/// Map, key and value of the elements by which 127.0.0.1 leads on; and those of conditions.
fn from_loopback(
    host_addr: Option<&str>,
    masquerade: PortMasquerade,
    conditions: &[(bool, Part)],
) -> Vec<String> {
    let conditions = conditions
        .iter()
        .map(|(not, part)| Condition {
            not: *not,
            part: *part,
        })
        .collect::<Vec<_>>();
    let publication = Publication {
        masquerade,
        host_address: Some([10, 1, 2, 1].into()),
        conditions: Dual {
            v4: (!conditions.is_empty()).then_some(conditions),
            v6: None,
        },
        ..publication(vec![mapping(L4Proto::Tcp, host_addr, (8080, 80))])
    };
    let elements = publication.elements(&Owner::new("n", "c", "eth0")).unwrap();
    let addr = |key: &[u8]| {
        key[..4]
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join(".")
    };
    let words = |(map, element): &(&'static str, Element)| match *map {
        "loopback4" => Some(format!("all {}", addr(element.value.as_ref()?))),
        "loopbackaddr4" => Some(format!(
            "{} {}",
            addr(&element.key),
            addr(element.value.as_ref()?)
        )),
        "hostflow4" => Some(format!(
            "if {}-{} to {}-{}",
            addr(&element.key),
            addr(element.key_end.as_ref()?),
            addr(&element.key[4..]),
            addr(&element.key_end.as_ref()?[4..])
        )),
        _ => None,
    };
    elements.iter().filter_map(words).collect()
}

#[test]
fn what_the_loopback_sends_gets_the_hosts_address_as_source() {
    use PortMasquerade::{All, Needed, Off};
    let source = |net: &str| Part::Source(net.parse().unwrap());
    let all = ["all 10.1.2.1"];
    assert_eq!(from_loopback(None, Needed, &[]), all);
    assert_eq!(from_loopback(Some("0.0.0.0"), All, &[]), all);
    assert_eq!(from_loopback(None, Off, &[]), [""; 0]);
    assert_eq!(from_loopback(Some("192.0.2.1"), Needed, &[]), [""; 0]);
    assert_eq!(
        from_loopback(Some("127.0.0.5"), Needed, &[]),
        ["127.0.0.5 10.1.2.1"]
    );
    // Conditions are asked about 127.0.0.1, and look at packets that have another source.
    let any = "to 0.0.0.0-255.255.255.255";
    let within = "to 127.0.0.0-127.255.255.255";
    assert_eq!(
        from_loopback(None, Needed, &[(true, source("127.0.0.0/8"))]),
        [
            format!("if 0.0.0.0-126.255.255.255 {any}"),
            format!("if 128.0.0.0-255.255.255.255 {any}")
        ]
    );
    assert_eq!(
        from_loopback(None, Needed, &[(false, source("127.0.0.0/8"))]),
        [
            format!("if 127.0.0.0-127.255.255.255 {any}"),
            "all 10.1.2.1".to_owned(),
            format!("if 10.1.2.1-10.1.2.1 {within}")
        ]
    );
    assert_eq!(
        from_loopback(None, Needed, &[(true, source("192.0.2.0/24"))]),
        [
            format!("if 0.0.0.0-192.0.1.255 {any}"),
            format!("if 192.0.3.0-255.255.255.255 {any}"),
            "all 10.1.2.1".to_owned()
        ]
    );
}

fn any_mapping() -> impl Strategy<Value = PortMapping> {
    let addr = prop_oneof![
        Just(None),
        Just(Some("0.0.0.0")),
        Just(Some("::")),
        Just(Some("192.0.2.1")),
        Just(Some("192.0.2.2")),
        Just(Some("2001:db8::1")),
    ];
    let protocol = prop_oneof![Just(L4Proto::Tcp), Just(L4Proto::Udp), Just(L4Proto::Sctp)];
    (protocol, addr, 1..6_u16, 1..3_u16)
        .prop_map(|(protocol, addr, from, to)| mapping(protocol, addr, (from, to)))
}

proptest! {
    #[test]
    fn claims_of_one_container_never_clash_and_are_read_back_from_their_elements(
        ports in prop::collection::vec(any_mapping(), 0..12)
    ) {
        let publication = publication(ports);
        let owner = Owner::new("n", "c", "eth0");
        let (Ok(claims), Ok(elements)) = (publication.claims(), publication.elements(&owner)) else {
            prop_assert!(publication.claims().is_err() && publication.elements(&owner).is_err());
            return Ok(());
        };
        let all: Vec<&Claim> = claims.keys().collect();
        for (index, one) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                prop_assert!(!one.clashes(other) && !other.clashes(one), "{one} {other}");
            }
        }
        let read: BTreeSet<Claim> = elements
            .iter()
            .filter_map(|(set, element)| Claim::of_element(set, &element.key))
            .collect();
        prop_assert_eq!(read, claims.keys().copied().collect::<BTreeSet<_>>());
        // Each port of each mapping leads somewhere.
        for port in &publication.ports {
            for address in &publication.addresses {
                if let Some((wanted, _, to)) = claim(*address, port) {
                    let lead = claims.iter().find(|(claim, _)| claim.clashes(&wanted));
                    prop_assert_eq!(lead.map(|(_, (_, port))| *port), Some(to));
                }
            }
        }
    }

    #[test]
    fn a_record_of_host_ports_survives_its_file(
        ports in prop::collection::vec(any_mapping(), 0..5),
        not: bool,
    ) {
        let part = Part::Source("192.0.2.0/24".parse().unwrap());
        let conditions = Dual {
            v4: not.then(|| vec![Condition { not, part }]),
            v6: None,
        };
        let record = crate::PortRecord {
            network: "n".into(),
            container_id: "c".into(),
            ifname: "eth0".into(),
            netns: "/run/netns/c".into(),
            publication: Publication {
                conditions,
                ..publication(ports)
            },
        };
        let text = record.render();
        prop_assert_eq!(crate::Record::parse(&text), None);
        prop_assert_eq!(crate::PortRecord::parse(&text), Some(record));
    }
}
