//! Firewalls of the host that drop what comes to a tunnel's port, and what flannel has left in the packet filter.

use ipnet::IpNet;
use tweed_kernel::firewall::{Asked, Hindrance, hindrances};
use tweed_model::Family;
use tweed_netlink::Netfilter;

use crate::lab::{isolated, sh};

const NET: &str = "10.244.0.0/16";

fn found(networks: &[IpNet]) -> Vec<Hindrance> {
    let asked = Asked {
        own: "tweed",
        networks,
        accepts: true,
        tunnels: vec![(Family::V4, 8472, true)],
        uplink: "eth0",
        leftovers: true,
    };
    hindrances(&mut Netfilter::open().unwrap(), &asked).unwrap()
}

/// What is to be typed stands behind the first colon and space.
fn mend(hindrance: &Hindrance) {
    let text = hindrance.to_string();
    sh(text.split_once(": ").unwrap().1);
}

fn iptables(program: &str, rules: &[&str]) {
    rules
        .iter()
        .for_each(|rule| drop(sh(&format!("{program} {rule}"))));
}

#[test]
fn a_firewall_that_surely_drops_a_tunnels_packets_is_named_with_the_command_that_mends_it() {
    const USUAL: [&str; 4] = [
        "-P INPUT DROP",
        "-A INPUT -i lo -j ACCEPT",
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A INPUT -p tcp --dport 22 -j ACCEPT",
    ];
    let workstation = "table inet filter { chain input { type filter hook input priority 0; policy drop; iif lo accept; \
        ct state vmap { established : accept, related : accept, invalid : drop }; tcp dport { 22, 80 } accept; \
        udp dport { 53, 5000-6000 } accept; meta l4proto { icmp, ipv6-icmp } accept; }; }";
    let one =
        "table ip mine { chain in { type filter hook input priority 5; udp dport 8472 drop; }; }";
    let nft = |text: &str| drop(sh(&format!("nft '{text}'")));
    let setups: [(&str, &(dyn Fn() + Sync)); 5] = [
        ("a workstation", &|| nft(workstation)),
        ("one rule", &|| nft(one)),
        ("iptables", &|| iptables("iptables-nft", &USUAL)),
        ("legacy", &|| iptables("iptables-legacy", &USUAL)),
        ("its end", &|| {
            iptables("iptables-nft", &["-A INPUT -j REJECT"]);
        }),
    ];
    for (name, set_up) in setups {
        isolated(|| {
            assert_eq!(found(&[]), []);
            set_up();
            let drops = found(&[]);
            let [hindrance] = &drops[..] else {
                panic!("{name}: {drops:?}");
            };
            assert_eq!(
                (hindrance.kind(), hindrance.stops()),
                ("input", true),
                "{name}"
            );
            mend(hindrance);
            assert_eq!(found(&[]), [], "{name}");
        });
    }
}

#[test]
fn firewalld_is_asked_through_its_zones() {
    isolated(|| {
        sh("nft 'table inet firewalld { \
            chain allow { tcp dport 22 accept; }; \
            chain zone { jump allow; meta l4proto { icmp, ipv6-icmp } accept; }; \
            chain zones { iifname eth1 goto zone; goto zone; }; \
            chain filter_INPUT { type filter hook input priority 10; policy accept; \
            ct state { established, related } accept; ct status dnat accept; iifname lo accept; ct state invalid drop; \
            jump zones; reject with icmpx admin-prohibited; }; }'");
        let drops = found(&[]);
        assert_eq!(drops.len(), 1, "{drops:?}");
        let text = drops[0].to_string();
        assert!(
            text.contains("firewall-cmd --permanent --add-port=8472/udp"),
            "{text}"
        );
        sh("nft add rule inet firewalld allow udp dport 8472 accept");
        assert_eq!(found(&[]), []);
    });
}

#[test]
fn of_a_firewall_that_may_let_them_pass_nothing_is_said() {
    for rule in [
        "ip saddr 192.0.2.0/24 accept",
        "ip saddr { 192.0.2.1, 192.0.2.2 } accept",
        "udp dport 8000-9000 accept",
        "udp dport { 53, 8000-9000 } accept",
        "udp dport != 53 accept",
        "iifname eth0 accept",
        "iifname wg0 accept",
        "meta mark 7 accept",
        "udp dport vmap { 53 : drop, 8472 : accept }",
        "ip protocol udp accept",
        "limit rate 5/second accept",
        "jump more",
        "udp dport 8472 goto more",
    ] {
        isolated(|| {
            sh(&format!(
                "nft 'table inet mine {{ chain more {{ udp dport 8472 accept; }}; chain in {{ type filter hook input \
                 priority 0; policy drop; iif lo accept; {rule}; }}; }}'"
            ));
            assert_eq!(found(&[]), [], "{rule}");
        });
    }
    for rule in [
        "-p udp --dport 8472",
        "-p udp -m multiport --dports 53,8000:9000",
        "-s 192.0.2.0/24",
        "-p udp",
        "-i eth0",
        "-i wg+",
        "-m conntrack --ctstate NEW",
        "-m mark --mark 7",
        "! -i lo",
    ] {
        for program in ["iptables-nft", "iptables-legacy"] {
            isolated(|| {
                let rule = format!("-A INPUT {rule} -j ACCEPT");
                iptables(program, &["-P INPUT DROP", &rule]);
                assert_eq!(found(&[]), [], "{program} {rule}");
            });
        }
    }
}

#[test]
fn a_drop_that_is_limited_to_others_than_the_peers_is_none_of_theirs() {
    let networks: [IpNet; 1] = [NET.parse().unwrap()];
    for (hook, rule) in [
        ("input", "iifname eth9 udp dport 8472 drop"),
        ("input", "ip saddr 203.0.113.0/24 udp dport 8472 drop"),
        ("input", "ip saddr != 192.0.2.0/24 drop"),
        ("input", "limit rate over 5/second drop"),
        ("forward", "iifname eth9 drop"),
        ("forward", "oifname eth9 drop"),
        ("forward", "ip saddr 203.0.113.0/24 drop"),
        ("forward", "ip saddr 10.244.7.0/24 drop"),
    ] {
        isolated(|| {
            sh(&format!(
                "nft 'table inet mine {{ chain one {{ type filter hook {hook} priority 0; {rule}; }}; }}'"
            ));
            assert_eq!(found(&networks), [], "{hook} {rule}");
        });
    }
}

#[test]
fn while_flannels_chain_alone_lets_pods_through_that_is_said_before_the_reboot() {
    isolated(|| {
        let networks: [IpNet; 1] = [NET.parse().unwrap()];
        for program in ["iptables-legacy", "iptables-nft"] {
            // Ours goes into the one of nftables where it drops by policy.
            let last = match program {
                "iptables-legacy" => "-P FORWARD DROP",
                _ => "-A FORWARD -j REJECT",
            };
            iptables(
                program,
                &["-N FLANNEL-FWD", "-A FORWARD -j FLANNEL-FWD", last],
            );
            let drops = found(&networks);
            assert!(drops.len() == 1 && drops[0].stops(), "{program}: {drops:?}");
            iptables(
                program,
                &[
                    &format!(
                        "-A FLANNEL-FWD -s {NET} -m comment --comment 'flanneld forward' -j ACCEPT"
                    ),
                    &format!(
                        "-A FLANNEL-FWD -d {NET} -m comment --comment 'flanneld forward' -j ACCEPT"
                    ),
                ],
            );
            let warned = found(&networks);
            assert!(
                matches!(warned[..], [Hindrance::OnlyFlannel { .. }]) && !warned[0].stops(),
                "{program}: {warned:?}"
            );
            mend(&warned[0]);
            assert_eq!(found(&networks), [], "{program}");
        }
    });
}

#[test]
fn what_flannel_has_left_of_address_translation_is_named_and_removed_as_it_says() {
    isolated(|| {
        for program in ["iptables-nft", "iptables-legacy", "ip6tables-nft"] {
            iptables(
                program,
                &[
                    "-t nat -N FLANNEL-POSTRTG",
                    "-t nat -A FLANNEL-POSTRTG -m comment --comment 'flanneld masq' -j RETURN",
                    "-t nat -A POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG",
                ],
            );
        }
        sh(
            "nft 'table ip flannel-ipv4 { chain postrtg { type nat hook postrouting priority 100; }; }'",
        );
        let left = found(&[]);
        assert_eq!(left.len(), 4, "{left:?}");
        assert!(
            left.iter().all(|it| it.kind() == "flannel" && !it.stops()),
            "{left:?}"
        );
        left.iter().for_each(mend);
        assert_eq!(found(&[]), []);
    });
}
