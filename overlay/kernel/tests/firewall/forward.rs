//! Another program's FORWARD chain that drops by policy.

use std::collections::BTreeMap;

use ipnet::IpNet;
use tweed_kernel::firewall::{Asked, apply_foreign, hindrances, observe_foreign};
use tweed_model::Family;
use tweed_netlink::Netfilter;
use tweed_nft::ForeignForward;
use tweed_nft::live::legacy_tables;

use crate::lab::{Neighbour, addr, isolated, sh, source_seen};

const NET: &str = "10.244.0.0/16";
const NET6: &str = "fd00:10:244::/48";

fn accept(nets: &[&str]) -> ForeignForward {
    ForeignForward {
        accept: nets.iter().map(|net| net.parse().unwrap()).collect(),
    }
}

#[test]
fn a_chain_is_ours_to_look_at_only_where_it_drops_by_policy() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        assert_eq!(
            observe_foreign(&mut socket, "tweed").unwrap(),
            BTreeMap::new()
        );
        sh("iptables -P FORWARD ACCEPT; ip6tables -P FORWARD DROP");
        let found = observe_foreign(&mut socket, "tweed").unwrap();
        assert_eq!(
            found,
            BTreeMap::from([(Family::V6, ForeignForward::default())])
        );
        // Not ours to create.
        sh("nft flush ruleset");
        apply_foreign(&mut socket, "tweed", Family::V4, &accept(&[NET])).unwrap();
        assert_eq!(sh("nft list ruleset"), "");
    });
}

#[test]
fn our_rules_are_ordinary_iptables_rules_at_the_head() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        sh("iptables -P FORWARD DROP; iptables -A FORWARD -i docker0 -j DROP");
        sh("ip6tables -P FORWARD DROP");
        apply_foreign(&mut socket, "tweed", Family::V4, &accept(&[NET])).unwrap();
        apply_foreign(&mut socket, "tweed", Family::V6, &accept(&[NET6])).unwrap();
        let saved = sh("iptables-save -t filter");
        let rules: Vec<&str> = saved
            .lines()
            .filter(|line| line.starts_with("-A"))
            .collect();
        assert_eq!(
            rules,
            [
                "-A FORWARD -s 10.244.0.0/16 -m comment --comment \"tweed forward from 10.244.0.0/16\" -j ACCEPT",
                "-A FORWARD -d 10.244.0.0/16 -m comment --comment \"tweed forward to 10.244.0.0/16\" -j ACCEPT",
                "-A FORWARD -i docker0 -j DROP",
            ]
        );
        let saved = sh("ip6tables-save -t filter");
        assert!(
            saved.contains("-A FORWARD -s fd00:10:244::/48 -m comment --comment"),
            "{saved}"
        );
        let expected = [(Family::V4, accept(&[NET])), (Family::V6, accept(&[NET6]))];
        assert_eq!(
            observe_foreign(&mut socket, "tweed").unwrap(),
            expected.into()
        );
    });
}

#[test]
fn exactly_the_wanted_rules_stay() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        sh("iptables -P FORWARD DROP");
        let both = accept(&[NET, "10.96.0.0/12"]);
        apply_foreign(&mut socket, "tweed", Family::V4, &both).unwrap();
        let before = sh("nft -a list chain ip filter FORWARD");
        apply_foreign(&mut socket, "tweed", Family::V4, &both).unwrap();
        assert_eq!(
            sh("nft -a list chain ip filter FORWARD"),
            before,
            "nothing to do"
        );

        sh("iptables -D FORWARD 2");
        let found = observe_foreign(&mut socket, "tweed").unwrap();
        assert_ne!(found[&Family::V4], both, "one way is not enough");
        apply_foreign(&mut socket, "tweed", Family::V4, &both).unwrap();
        assert_eq!(
            observe_foreign(&mut socket, "tweed").unwrap()[&Family::V4],
            both
        );

        let one = accept(&[NET]);
        apply_foreign(&mut socket, "tweed", Family::V4, &one).unwrap();
        assert_eq!(
            observe_foreign(&mut socket, "tweed").unwrap()[&Family::V4],
            one
        );
        assert_eq!(sh("iptables -S FORWARD").lines().count(), 3);
        apply_foreign(&mut socket, "tweed", Family::V4, &ForeignForward::default()).unwrap();
        assert_eq!(sh("iptables -S FORWARD"), "-P FORWARD DROP\n");
    });
}

#[test]
fn our_rules_are_known_after_save_and_restore_and_not_doubled() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        sh("iptables -P FORWARD DROP");
        let wanted = accept(&[NET]);
        apply_foreign(&mut socket, "tweed", Family::V4, &wanted).unwrap();
        let saved = sh("iptables-save -t filter | grep -v '^#' | sed 's/ .[0-9]*:[0-9]*.$//'");
        sh(
            "iptables-save > /run/tweed-fw-$$; iptables -F; iptables-restore < /run/tweed-fw-$$; rm /run/tweed-fw-$$",
        );
        assert_eq!(
            observe_foreign(&mut socket, "tweed").unwrap()[&Family::V4],
            wanted
        );
        apply_foreign(&mut socket, "tweed", Family::V4, &wanted).unwrap();
        let again = sh("iptables-save -t filter | grep -v '^#' | sed 's/ .[0-9]*:[0-9]*.$//'");
        assert_eq!(again, saved);
    });
}

#[test]
fn two_networks_on_one_host_leave_each_other_s_rules_alone() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        sh("iptables -P FORWARD DROP");
        apply_foreign(&mut socket, "tweed", Family::V4, &accept(&[NET])).unwrap();
        apply_foreign(
            &mut socket,
            "tweed-2",
            Family::V4,
            &accept(&["10.9.0.0/16"]),
        )
        .unwrap();
        apply_foreign(&mut socket, "tweed", Family::V4, &ForeignForward::default()).unwrap();
        let found = observe_foreign(&mut socket, "tweed-2").unwrap();
        assert_eq!(found[&Family::V4], accept(&["10.9.0.0/16"]));
        let found = observe_foreign(&mut socket, "tweed").unwrap();
        assert_eq!(found[&Family::V4], ForeignForward::default());
    });
}

#[test]
fn what_is_left_of_us_is_found_when_the_policy_is_accept_again() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        sh("iptables -P FORWARD DROP");
        apply_foreign(&mut socket, "tweed", Family::V4, &accept(&[NET])).unwrap();
        sh("iptables -P FORWARD ACCEPT");
        assert_eq!(
            observe_foreign(&mut socket, "tweed").unwrap()[&Family::V4],
            accept(&[NET])
        );
        apply_foreign(&mut socket, "tweed", Family::V4, &ForeignForward::default()).unwrap();
        assert_eq!(
            observe_foreign(&mut socket, "tweed").unwrap(),
            BTreeMap::new()
        );
    });
}

#[test]
fn pods_reach_the_outside_through_a_chain_that_drops_by_policy() {
    isolated(|| {
        sh("sysctl -qw net.ipv4.ip_forward=1; iptables -P FORWARD DROP");
        let pod = Neighbour::new("pod", "10.244.1.1/24", "10.244.1.5/24");
        pod.sh("ip route add default via 10.244.1.1");
        let outside = Neighbour::new("outside", "192.0.2.1/24", "192.0.2.2/24");
        pod.sh("! ping -c1 -W1 192.0.2.2");
        let mut socket = Netfilter::open().unwrap();
        apply_foreign(&mut socket, "tweed", Family::V4, &accept(&[NET])).unwrap();
        let from = pod.socket("10.244.1.5:0");
        let to = outside.socket("192.0.2.2:7000");
        assert_eq!(source_seen(&from, &to), addr("10.244.1.5"));
    });
}

#[test]
fn what_drops_forwarded_packets_beside_us_is_named_with_the_command_that_mends_it() {
    isolated(|| {
        let mut socket = Netfilter::open().unwrap();
        let networks: [IpNet; 2] = [NET, NET6].map(|net| net.parse().unwrap());
        let mut found = || {
            let asked = Asked {
                own: "tweed",
                networks: &networks,
                accepts: true,
                ..Asked::default()
            };
            let found = hindrances(&mut socket, &asked).unwrap();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        // What is to be typed stands behind the first colon and space.
        let mend = |text: &str| sh(text.split_once(": ").unwrap().1);
        assert_eq!(legacy_tables().unwrap(), BTreeMap::new());
        assert_eq!(found(), [""; 0]);
        assert_eq!(legacy_tables().unwrap(), BTreeMap::new(), "asking made one");

        // iptables-nft's own chain gets our accept rules.
        sh("iptables-nft -P FORWARD DROP");
        assert_eq!(found(), [""; 0]);

        for program in ["iptables-legacy", "ip6tables-legacy"] {
            sh(&format!("{program} -P FORWARD ACCEPT"));
            assert_eq!(found(), [""; 0]);
            sh(&format!("{program} -P FORWARD DROP"));
            let texts = found();
            assert_eq!(texts.len(), 1, "{texts:?}");
            let text = &texts[0];
            assert!(text.contains(&format!("{program} -I FORWARD")), "{text}");
            mend(text);
            assert_eq!(found(), [""; 0]);
            // Through chains of others, with a comment.
            sh(&format!("{program} -F FORWARD"));
            sh(&format!("{program} -N OTHERS"));
            sh(&format!(
                "{program} -A FORWARD -m comment --comment x -j OTHERS"
            ));
            assert_eq!(found().len(), 1);
            sh(&format!("{program} -A OTHERS -j ACCEPT"));
            assert_eq!(found(), [""; 0]);
        }

        for (table, rest) in [
            ("mine", "policy drop;"),
            (
                "firewalld",
                "policy accept; ct state established accept; counter reject;",
            ),
        ] {
            sh(&format!(
                "nft 'table inet {table} {{ chain pass {{ type filter hook forward priority 10; {rest} }}; }}'"
            ));
            let texts = found();
            assert_eq!(texts.len(), 2, "one a family: {texts:?}");
            assert!(texts[0].contains("10.244.0.0/16"), "{texts:?}");
            match table {
                "firewalld" => {
                    assert!(texts[0].contains("firewall-cmd"), "{texts:?}");
                    for net in ["ip saddr 10.244.0.0/16", "ip6 saddr fd00:10:244::/48"] {
                        sh(&format!("nft insert rule inet firewalld pass {net} accept"));
                    }
                }
                _ => texts.iter().for_each(|text| drop(mend(text))),
            }
            assert_eq!(found(), [""; 0]);
        }
    });
}
