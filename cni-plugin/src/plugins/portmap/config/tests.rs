use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::arbitrary;
use crate::spec::Version;

fn parse(extra: &Value) -> Result<PortmapConfig, (u32, String)> {
    let mut conf = json!({"cniVersion": "1.0.0", "name": "n", "type": "portmap"});
    for (key, value) in extra.as_object().unwrap() {
        conf[key] = value.clone();
    }
    let conf = NetConf::from_value(conf, &Version::ALL).unwrap();
    PortmapConfig::parse(&conf).map_err(|error| (error.kind.code(), error.to_string()))
}

fn with(mapping: &Value) -> Value {
    json!({"runtimeConfig": {"portMappings": [mapping]}})
}

#[test]
fn mappings_are_read_as_runtimes_write_them() {
    let config = parse(&json!({"runtimeConfig": {"PortMappings": [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
        {"HostPort": 53, "ContainerPort": 53, "Protocol": "UDP", "HostIP": "192.0.2.1"},
        {"hostPort": 36412, "containerPort": 36412, "protocol": "sctp", "hostIP": "::"},
        {"hostPort": 1, "containerPort": 65535},
        {"hostPort": 9, "containerPort": 9, "hostIP": "::ffff:192.0.2.1"},
    ]}}))
    .unwrap();
    let text: Vec<String> = config
        .ports
        .iter()
        .map(|port| {
            let host = port.host_addr.map(|addr| addr.to_string());
            let (from, to) = (port.host_port, port.container_port);
            format!("{} {} {from} {to}", port.protocol, host.unwrap_or_default())
        })
        .collect();
    assert_eq!(
        text,
        [
            "tcp  8080 80",
            "udp 192.0.2.1 53 53",
            "sctp :: 36412 36412",
            "tcp  1 65535",
            "tcp 192.0.2.1 9 9",
        ]
    );
    assert_eq!(config.masquerade, PortMasquerade::Needed);
}

#[test]
fn a_mapping_that_makes_no_sense_is_refused_and_named() {
    for (mapping, code, text) in [
        (
            json!({"hostPort": 0, "containerPort": 80}),
            7,
            "Invalid host port number: 0",
        ),
        (
            json!({"hostPort": 65536, "containerPort": 80}),
            7,
            "Invalid host port number: 65536",
        ),
        (
            json!({"hostPort": 80, "containerPort": -1}),
            7,
            "Invalid container port number: -1",
        ),
        (
            json!({"hostPort": 80, "containerPort": 80, "protocol": "icmp"}),
            7,
            "unknown protocol \"icmp\"",
        ),
        (
            json!({"hostPort": 80, "containerPort": 80, "hostIP": "host"}),
            6,
            "invalid IP address: host",
        ),
        (
            json!({"hostPort": "80", "containerPort": 80}),
            6,
            "hostPort",
        ),
        (json!(80), 6, "portMappings"),
    ] {
        let (is, error) = parse(&with(&mapping)).unwrap_err();
        assert_eq!(is, code, "{mapping}: {error}");
        assert!(error.contains(text), "{mapping}: {error}");
    }
}

#[test]
fn options_are_taken_or_refused_in_words() {
    for (options, expected) in [
        (json!({}), Ok(PortMasquerade::Needed)),
        (json!({"snat": false}), Ok(PortMasquerade::Off)),
        (
            json!({"snat": false, "masqAll": true}),
            Ok(PortMasquerade::Off),
        ),
        (json!({"masqAll": true}), Ok(PortMasquerade::All)),
        (json!({"backend": "iptables"}), Ok(PortMasquerade::Needed)),
        (
            json!({"externalSetMarkChain": "KUBE-MARK-MASQ"}),
            Ok(PortMasquerade::Needed),
        ),
        (
            json!({"markMasqBit": 13, "conditionsV4": []}),
            Ok(PortMasquerade::Needed),
        ),
        (json!({"markMasqBit": 32}), Err("between 0 and 31")),
        (
            json!({"markMasqBit": 12}),
            Err("markMasqBit 12 is not supported"),
        ),
        (
            json!({"markMasqBit": 13, "externalSetMarkChain": "X"}),
            Err("Cannot specify externalSetMarkChain and markMasqBit"),
        ),
        (
            json!({"conditionsV4": ["ip", "saddr", "192.0.2.0/24"]}),
            Ok(PortMasquerade::Needed),
        ),
        (
            json!({"conditionsV6": ["!", "-i", "eth0"]}),
            Err("conditionsV6: \"!\" and what follows it can't be translated"),
        ),
        (
            json!({"backend": "ebpf"}),
            Err("unrecognized backend \"ebpf\""),
        ),
    ] {
        let parsed = parse(&options).map(|config| config.masquerade);
        match (parsed, expected) {
            (Ok(is), Ok(wanted)) => assert_eq!(is, wanted, "{options}"),
            (Err((_, error)), Err(text)) => assert!(error.contains(text), "{options}: {error}"),
            (is, wanted) => panic!("{options}: {is:?}, wanted {wanted:?}"),
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    arbitrary::json(
        "hostPort|containerPort|protocol|hostIP|HOSTIP|x",
        "tcp|UDP|sctp|0\\.0\\.0\\.0|::|192\\.0\\.2\\.1|[a-z:.]{0,9}",
    )
}

proptest! {
    #[test]
    fn whatever_a_runtime_hands_over_is_read_or_refused_and_del_finds_no_less(value in any_json()) {
        let conf = json!({"name": "n", "runtimeConfig": {"portMappings": value}});
        let conf = NetConf::from_value(conf, &Version::ALL).unwrap();
        if let Ok(config) = PortmapConfig::parse(&conf) {
            prop_assert_eq!(&config.ports, &readable(&conf).ports);
            prop_assert_eq!(config.ports.is_empty(), !has_ports(&conf));
            prop_assert!(config.ports.iter().all(|port| port.host_port != 0 && port.container_port != 0));
        }
    }

    #[test]
    fn every_valid_mapping_is_read_as_it_is_written(
        protocol in prop_oneof![Just(L4Proto::Tcp), Just(L4Proto::Udp), Just(L4Proto::Sctp)],
        host_addr in proptest::option::of(any::<IpAddr>()),
        host_port in 1..=u16::MAX,
        container_port in 1..=u16::MAX,
    ) {
        let mapping = json!({
            "hostPort": host_port, "containerPort": container_port,
            "protocol": protocol.to_string(), "hostIP": host_addr.map(|a| a.to_string()),
        });
        let expected = PortMapping {
            protocol,
            host_addr: host_addr.map(|addr| addr.to_canonical()),
            host_port,
            container_port,
        };
        prop_assert_eq!(parse(&with(&mapping)).unwrap().ports, vec![expected]);
    }
}
