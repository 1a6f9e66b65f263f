//! VLANs of an attachment's port, damaged and put back by its record.

use std::collections::BTreeSet;

use tempfile::TempDir;
use tweed_attach::record::Record;
use tweed_model::{Bridged, Port, Vlan};

use crate::lab::{Healer, isolated, sh};

/// As the plugin leaves them: a port with these VLANs, out of the bridge's default one unless it `keeps` that.
fn attached(vlans: &[(u16, bool)], keeps: bool) -> (TempDir, Healer) {
    sh("ip link add cni0 type bridge vlan_filtering 1 && ip link set cni0 up");
    sh("ip link add veth1 type veth peer name pod && ip link set veth1 up master cni0");
    if !keeps {
        sh("bridge vlan del dev veth1 vid 1");
    }
    for (vid, native) in vlans {
        let flags = if *native { "pvid untagged" } else { "" };
        sh(&format!("bridge vlan add dev veth1 vid {vid} {flags}"));
    }
    let entry = |(vid, native): &(u16, bool)| Vlan {
        vid: *vid,
        native: *native,
    };
    Healer::with(&Record {
        network: "cbr0".into(),
        container_id: "a".into(),
        ifname: "eth0".into(),
        masquerade: Vec::new(),
        bridged: Some(Bridged {
            bridge: "cni0".into(),
            vlan_filtering: true,
            ports: vec![Port {
                name: "veth1".into(),
                vlans: vlans.iter().map(entry).collect::<BTreeSet<Vlan>>(),
                keeps_default_vlan: keeps,
                ..Port::default()
            }],
            ..Bridged::default()
        }),
        netns: String::new(),
        routed: None,
    })
}

/// What `bridge` and `ip` show of it.
fn shown() -> String {
    [
        "bridge vlan show dev veth1",
        "ip -d link show cni0 | grep -o 'vlan_filtering [01]'",
        "ip -o link show veth1 | grep -o 'master [a-z0-9]*'",
    ]
    .map(sh)
    .concat()
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: the guest tier runs it"]
fn a_port_is_back_in_its_vlans_and_out_of_the_default_one() {
    isolated(|| {
        let (_folder, mut healer) = attached(&[(100, true), (201, false), (202, false)], false);
        let damages = [
            "bridge vlan del dev veth1 vid 100",
            "bridge vlan del dev veth1 vid 202",
            "bridge vlan add dev veth1 vid 1 untagged",
            "bridge vlan add dev veth1 vid 1 pvid untagged",
            "bridge vlan add dev veth1 vid 100",
            "ip link set cni0 type bridge vlan_filtering 0",
            "ip link set veth1 nomaster",
            "ip link set veth1 nomaster && ip link set veth1 master cni0",
            "ip link del cni0",
        ];
        healer.heals(shown, damages);
        // What another program has added beside them is its own affair.
        sh("bridge vlan add dev veth1 vid 300");
        assert_eq!(healer.repairs(), [""; 0]);
    });
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: the guest tier runs it"]
fn a_port_that_keeps_the_default_vlan_is_left_in_it() {
    isolated(|| {
        let (_folder, mut healer) = attached(&[(100, true)], true);
        let before = shown();
        assert_eq!(healer.repairs(), [""; 0], "all is well");
        sh("bridge vlan del dev veth1 vid 100");
        assert_eq!(healer.repairs().len(), 1);
        assert_eq!(shown(), before);
    });
}
