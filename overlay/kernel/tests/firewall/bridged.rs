//! The place of an attachment in a bridge, damaged and put back by its record.

use std::path::Path;

use ipnet::IpNet;
use tempfile::TempDir;
use tweed_attach::record::{Record, file_name};
use tweed_model::{Bridged, Port, Vlan};

use crate::lab::{Healer, isolated, sh};

const MAC: &str = "02:00:00:00:00:01";

/// As the plugin leaves them: a bridge with a gateway and a port, and the record.
fn attached() -> (TempDir, Healer) {
    sh("ip link add cni0 address 02:00:00:00:00:01 mtu 1450 type bridge && ip link set cni0 up");
    sh("ip addr add 10.22.0.1/24 dev cni0 && ip addr add fd00:22::1/64 dev cni0 nodad");
    sh("ip link add veth1 mtu 1450 type veth peer name pod && ip link set veth1 up master cni0");
    sh("bridge link set dev veth1 hairpin on isolated on");
    Healer::with(&record())
}

fn record() -> Record {
    Record {
        network: "cbr0".into(),
        container_id: "a".into(),
        ifname: "eth0".into(),
        masquerade: Vec::new(),
        bridged: Some(Bridged {
            bridge: "cni0".into(),
            mac: Some(MAC.parse().unwrap()),
            mtu: Some(1450),
            gateways: ["10.22.0.1/24", "fd00:22::1/64"]
                .map(|net| net.parse().unwrap())
                .into(),
            ports: vec![Port {
                name: "veth1".into(),
                hairpin: true,
                isolated: true,
                ..Port::default()
            }],
            ..Bridged::default()
        }),
        netns: String::new(),
        routed: None,
    }
}

/// What `ip` and `bridge` show of it, without numbers that the kernel gives anew.
fn shown() -> String {
    [
        r"ip -o -d link show cni0 | grep -o 'mtu [0-9]*\|,UP\|link/ether [^ ]*'",
        "ip -o addr show dev cni0 scope global | awk '{print $4}'",
        r"ip -o link show veth1 | grep -o 'master [a-z0-9]*\|,UP'",
        r"bridge -d link show dev veth1 | grep -o 'hairpin [a-z]*\|isolated [a-z]*'",
    ]
    .map(sh)
    .concat()
}

#[test]
fn a_bridge_its_addresses_and_ports_are_put_back_as_they_were() {
    isolated(|| {
        let (_folder, mut healer) = attached();
        let damages = [
            "ip link del cni0",
            "ip link set cni0 down",
            "ip addr flush dev cni0 scope global",
            "ip addr del fd00:22::1/64 dev cni0",
            "ip link set cni0 address 02:00:00:00:00:77",
            "ip link set cni0 mtu 1300",
            "ip link set veth1 nomaster",
            "ip link set veth1 down",
            "bridge link set dev veth1 hairpin off",
            "bridge link set dev veth1 isolated off",
            "ip link add other type bridge && ip link set veth1 master other",
        ];
        healer.heals(shown, damages);
    });
}

/// The gateway's address on one end of a pair, as for a VLAN; with the VLAN itself if this kernel filters by VLAN.
fn attached_to_vlan(vlan: Option<u16>) -> (TempDir, Healer) {
    let (folder, healer) = attached();
    sh("ip addr flush dev cni0 scope global");
    sh("ip link add vlan1 mtu 1450 type veth peer name cni0.100 address 02:00:00:00:00:64");
    sh("ip link set vlan1 up master cni0 && ip link set cni0.100 up");
    sh("ip addr add 10.22.0.1/24 dev cni0.100 && ip addr add fd00:22::1/64 dev cni0.100 nodad");
    if let Some(vid) = vlan {
        sh("ip link set cni0 type bridge vlan_filtering 1");
        sh(&format!(
            "bridge vlan del vid 1 dev vlan1 && bridge vlan add vid {vid} dev vlan1 pvid untagged"
        ));
    }
    let path = folder.path().join(file_name(&record().owner()));
    let mut record = record();
    let bridged = record.bridged.as_mut().unwrap();
    bridged.vlan_filtering = vlan.is_some();
    bridged.holder = Some("cni0.100".into());
    bridged.holder_mac = Some("02:00:00:00:00:64".parse().unwrap());
    let native = vlan.map(|vid| Vlan { vid, native: true });
    bridged.ports.push(Port {
        name: "vlan1".into(),
        vlans: native.into_iter().collect(),
        ..Port::default()
    });
    std::fs::write(path, record.render()).unwrap();
    (folder, healer)
}

fn is_put_back(vlan: Option<u16>, damages: &[&str]) {
    let shown = || {
        [
            r"ip -o link show cni0.100 | grep -o ',UP\|link/ether [^ ]*'",
            "ip -o addr show dev cni0.100 scope global | awk '{print $4}' | sort",
            r"ip -o link show vlan1 | grep -o 'master [a-z0-9]*\|,UP'",
            "bridge vlan show dev vlan1 | tr -d '\t'",
        ]
        .map(sh)
        .concat()
    };
    let (_folder, mut healer) = attached_to_vlan(vlan);
    let before = shown();
    assert_eq!(healer.repairs(), [""; 0], "all is well");
    for damage in damages {
        sh(damage);
        let repairs = healer.repairs();
        assert!(!repairs.is_empty(), "{damage}");
        assert_eq!(shown(), before, "{damage}: {repairs:?}");
        assert_eq!(healer.repairs(), [""; 0], "{damage}");
    }
}

#[test]
fn the_pair_of_a_vlans_gateway_is_made_again_with_its_addresses() {
    let damages = [
        "ip link del cni0.100",
        "ip link set cni0.100 down",
        "ip link set cni0.100 address 02:00:00:00:00:77",
        "ip addr flush dev cni0.100 scope global",
        "ip link set vlan1 nomaster",
        "ip link del cni0",
    ];
    isolated(|| is_put_back(None, &damages));
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: the guest tier runs it"]
fn the_pair_of_a_vlans_gateway_is_made_again_in_its_vlan() {
    let damages = [
        "ip link del cni0.100",
        "bridge vlan del vid 100 dev vlan1",
        "bridge vlan add vid 1 dev vlan1",
        "ip link del cni0",
    ];
    isolated(|| is_put_back(Some(100), &damages));
}

#[test]
fn with_ports_of_others_the_mtu_is_left_and_without_a_port_all_is() {
    isolated(|| {
        let (_folder, mut healer) = attached();
        sh(
            "ip link add theirs mtu 1400 type veth peer name far && ip link set theirs up master cni0",
        );
        sh("ip link set cni0 mtu 1400");
        assert_eq!(healer.repairs(), [""; 0]);
        sh("ip link del veth1 && ip link set cni0 down");
        assert_eq!(healer.repairs(), [""; 0]);
        sh("ip link del cni0");
        assert_eq!(healer.repairs(), [""; 0]);
    });
}

#[test]
fn a_bridge_that_cant_be_made_is_told() {
    isolated(|| {
        let (_folder, mut healer) = attached();
        sh("ip link del cni0 && ip link add cni0 type veth peer name cni0-peer");
        let (_, refused) = healer.look();
        assert!(refused[0].contains("no bridge"), "{refused:?}");
    });
}

/// Writes the record of another attachment.
fn write(folder: &Path, bridge: &str, gateway: Option<&str>, port: &str) {
    let record = Record {
        network: "cbr0".into(),
        container_id: "evil".into(),
        ifname: "eth0".into(),
        masquerade: Vec::new(),
        bridged: Some(Bridged {
            bridge: bridge.into(),
            gateways: gateway
                .map(|net| net.parse::<IpNet>().unwrap())
                .into_iter()
                .collect(),
            ports: vec![Port {
                name: port.into(),
                ..Port::default()
            }],
            ..Bridged::default()
        }),
        netns: String::new(),
        routed: None,
    };
    // As the plugin replaces it: the folder has changed then.
    let path = folder.join(file_name(&record.owner()));
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, record.render()).unwrap();
    std::fs::rename(unfinished, path).unwrap();
}

#[test]
fn a_record_that_names_the_hosts_own_interfaces_changes_none_of_them() {
    isolated(|| {
        let (folder, mut healer) = attached();
        sh("ip link add wan type veth peer name wire && ip link set wan up && ip link set wire up");
        sh("ip addr add 192.0.2.7/24 dev wan && ip route add default via 192.0.2.1");
        sh("ip link add lan type bridge && ip link add tun7 type vxlan id 7 dstport 4790");
        for (bridge, port) in [("all", "veth1"), ("cni0", "../wan"), ("", "veth1")] {
            write(folder.path(), bridge, None, port);
            assert_eq!(healer.repairs(), [""; 0], "{bridge} {port}");
        }
        let host = || {
            [
                r"ip -o link | grep -o '^[^<]*\|mtu [0-9]*\|master [a-z0-9]*\|link/ether [^ ]*'",
                // The kernel takes its time to say that a port is up.
                "ip -o -4 addr; ip route | sed 's/ linkdown//'; cat /proc/sys/net/ipv6/conf/*/accept_ra",
            ]
            .map(sh)
            .concat()
        };
        let before = host();
        for (bridge, gateway, port) in [
            ("cni0", None, "wan"),
            ("cni0", None, "lan"),
            ("cni0", None, "tun7"),
            ("wan", Some("203.0.113.1/24"), "veth1"),
            ("tun7", Some("203.0.113.1/24"), "veth1"),
            ("cni0", Some("192.0.2.1/24"), "veth1"),
            ("cni0", Some("128.0.0.1/1"), "veth1"),
            ("cni0", Some("0.0.0.1/0"), "veth1"),
        ] {
            write(folder.path(), bridge, gateway, port);
            let (_, refused) = healer.look();
            let what = format!("{bridge} {gateway:?} {port}");
            assert!(!refused.is_empty(), "{what}");
            assert_eq!(host(), before, "{what}: {refused:?}");
        }
    });
}
