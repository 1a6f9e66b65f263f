//! What leads to a container without a bridge, damaged and put back by its record.

use std::path::Path;

use tempfile::TempDir;
use tweed_attach::record::{Record, file_name};
use tweed_model::Routed;

use crate::lab::{Healer, isolated, sh};

const MAC: &str = "02:00:00:00:00:05";

fn write(folder: &Path, port: &str, addrs: &[&str]) {
    let record = Record {
        network: "cbr0".into(),
        container_id: "a".into(),
        ifname: "eth0".into(),
        masquerade: Vec::new(),
        bridged: None,
        routed: Some(Routed {
            port: port.into(),
            mac: MAC.parse().unwrap(),
            addresses: addrs.iter().map(|addr| addr.parse().unwrap()).collect(),
        }),
        netns: String::new(),
    };
    // As the plugin replaces it: the folder has changed then.
    let path = folder.join(file_name(&record.owner()));
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, record.render()).unwrap();
    std::fs::rename(unfinished, path).unwrap();
}

/// As the plugin leaves it.
fn attached() -> (TempDir, Healer) {
    sh("ip link add veth1 type veth peer name pod && ip link set pod up");
    sh("ip link set veth1 up alias cbr0/a/eth0");
    sh("ip route add 10.22.0.5/32 dev veth1 proto 86 scope link");
    sh("ip -6 route add fd00:22::5/128 dev veth1 proto 86");
    for addr in ["10.22.0.5", "fd00:22::5"] {
        sh(&format!(
            "ip neigh add {addr} lladdr {MAC} dev veth1 nud permanent"
        ));
    }
    let folder = TempDir::new().unwrap();
    write(folder.path(), "veth1", &["10.22.0.5", "fd00:22::5"]);
    let healer = Healer::of(folder.path());
    (folder, healer)
}

fn shown() -> String {
    [
        r"ip -o link show veth1 | grep -o 'master [a-z0-9]*\|,UP'",
        "ip route show proto 86; ip -6 route show proto 86 | awk '{print $1, $2, $3}'",
        "ip neigh show nud permanent; ip -6 neigh show nud permanent",
    ]
    .map(sh)
    .concat()
}

#[test]
fn the_end_its_routes_and_neighbours_are_put_back_as_they_were() {
    isolated(|| {
        let (_folder, mut healer) = attached();
        let before = shown();
        assert_eq!(healer.repairs(), [""; 0], "all is well");
        sh("ip link add veth2 type veth peer name other && ip link set veth2 up");
        for damage in [
            "ip link set veth1 down",
            "ip route del 10.22.0.5/32",
            "ip -6 route del fd00:22::5/128",
            "ip route replace 10.22.0.5/32 dev veth2",
            "ip neigh flush dev veth1 nud permanent",
            "ip neigh replace 10.22.0.5 lladdr 02:00:00:00:00:77 dev veth1 nud permanent",
            "ip neigh replace fd00:22::5 lladdr 02:00:00:00:00:77 dev veth1 nud reachable",
            "ip link add br0 type bridge && ip link set veth1 master br0",
        ] {
            sh(damage);
            let repairs = healer.repairs();
            assert!(!repairs.is_empty(), "{damage}");
            assert_eq!(shown(), before, "{damage}: {repairs:?}");
            assert_eq!(healer.repairs(), [""; 0], "{damage}");
        }
    });
}

#[test]
fn an_end_that_is_gone_is_not_made_and_the_hosts_own_is_not_touched() {
    isolated(|| {
        let (folder, mut healer) = attached();
        sh("ip link del veth1");
        assert_eq!(healer.repairs(), [""; 0]);
        sh("ip link add nic type veth peer name wire && ip addr add 192.0.2.7/24 dev nic");
        sh("ip link set nic up && ip link set wire up");
        write(folder.path(), "nic", &["10.22.0.5"]);
        let (_, refused) = healer.look();
        assert!(
            refused
                .iter()
                .all(|text| text.contains("remove the record")),
            "{refused:?}"
        );
        assert_eq!(refused.len(), 2, "{refused:?}");
        sh("ip link add veth1 type veth peer name pod && ip link set veth1 up");
        write(folder.path(), "veth1", &["192.0.2.7"]);
        let (_, refused) = healer.look();
        assert!(
            refused
                .iter()
                .any(|text| text.contains("no container's address")),
            "{refused:?}"
        );
        assert!(sh("ip route show proto 86").is_empty());
    });
}
