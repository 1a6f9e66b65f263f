mod around;
mod healthy;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use tweed_kernel::firewall::Hindrance;
use tweed_model::Dual;
use tweed_probe::health::State;

use super::catalog::CHECKS;
use super::facts::{Facts, List, Net};
use super::finding::{Finding, Severity};
use super::judge::judge;
use crate::daemon::probing::{BadPeer, PeerProbe};
use crate::daemon::status::{HostWarning, RefusedLease, Standing};
use healthy::{BRIDGE, TUNNEL, UPLINK, healthy, link, net, route, with_addr};

/// What isn't fine, and follows from nothing else.
fn own(facts: &Facts) -> Vec<(&'static str, Severity)> {
    let found = judge(facts).findings.into_iter();
    let found = found.filter(|one| one.severity > Severity::Info && one.follows.is_none());
    found.map(|one| (one.id, one.severity)).collect()
}

fn is_found(id: &'static str, severity: Severity, breaks: impl FnOnce(&mut Facts)) {
    let mut facts = healthy();
    breaks(&mut facts);
    assert_eq!(own(&facts), [(id, severity)], "{id}: {:?}", judge(&facts));
}

#[test]
fn on_a_healthy_node_every_check_is_made_and_finds_nothing() {
    let report = judge(&healthy());
    let not_ok = |one: &&Finding| !matches!(one.severity, Severity::Ok | Severity::Skipped);
    assert_eq!(report.findings.iter().find(not_ok), None);
    assert_eq!(report.likely_cause, None);
    let skipped = report
        .findings
        .iter()
        .filter(|one| one.severity == Severity::Skipped);
    let skipped: Vec<&str> = skipped.map(|one| one.id).collect();
    assert_eq!(skipped, ["data-plane", "ipv6", "ipv6-default-route"]);
}

#[test]
fn names_of_checks_are_unique_and_follow_only_what_comes_before() {
    let mut seen = BTreeSet::new();
    for check in CHECKS {
        for cause in check.after.iter().filter(|_| check.id != "ready") {
            assert!(
                seen.contains(cause),
                "{} names {cause}, which comes later",
                check.id
            );
        }
        assert!(seen.insert(check.id), "{} twice", check.id);
    }
}

#[test]
fn what_the_agent_tells_is_found_by_its_check() {
    use Severity::{Fail, Warn};
    is_found("store", Fail, |facts| {
        facts.status.store_error = Some("refused".to_owned())
    });
    is_found("store", Fail, |facts| facts.status.in_sync = false);
    is_found("lease", Fail, |facts| {
        facts.status.lease = Standing::Lost("expired".to_owned())
    });
    is_found("lease", Fail, |facts| {
        facts.status.lease = Standing::Taken("by another".to_owned())
    });
    is_found("lease", Warn, |facts| {
        facts.status.lease = Standing::Unsure("timeout".to_owned())
    });
    is_found("entries", Warn, |facts| {
        facts.status.broken = BTreeMap::from([("10.244.9.0-24".to_owned(), "no JSON".to_owned())]);
    });
    is_found("refused-peers", Warn, |facts| {
        facts.status.refused = vec![RefusedLease {
            lease: "10.244.9.0-24".to_owned(),
            reason: "its VTEP MAC is that of another".to_owned(),
            kind: "vtep-mac".to_owned(),
        }];
    });
    is_found("peers", Fail, |facts| {
        bad_peer(facts, State::NoAnswerByTunnel)
    });
    is_found("peers", Warn, |facts| bad_peer(facts, State::MtuReduced));
    is_found("held-deletions", Warn, |facts| {
        facts.status.kernel.held = Some("all peers would go".to_owned());
    });
    is_found("other-agent", Warn, |facts| {
        facts.status.warnings = vec![HostWarning::new("flanneld", "flanneld runs")];
    });
    is_found("fights", Warn, |facts| {
        facts.status.kernel.fights = BTreeMap::from([("route x".to_owned(), 3)]);
    });
}

fn bad_peer(facts: &mut Facts, state: State) {
    facts.status.peer_states = [(State::Ok, 1), (state, 1)].into();
    facts.status.bad_peers = vec![BadPeer {
        lease: "10.244.9.0-24".to_owned(),
        subnets: Dual::default(),
        public: Dual::default(),
        probe: PeerProbe {
            state,
            since: 1,
            last_seen: None,
            rtt_us: None,
            mtu: None,
            note: Some("why".to_owned()),
        },
    }];
}

#[test]
fn what_the_agent_can_not_do_is_found_by_its_check() {
    use Severity::Fail;
    is_found("kernel-state", Fail, |facts| {
        facts.status.kernel.failed = vec!["add route: no".to_owned()];
    });
    is_found("data-plane", Fail, |facts| {
        facts.status.data_plane_error = Some("no /dev/net/tun".to_owned());
    });
    is_found("earlier-subnet", Fail, |facts| {
        facts.status.earlier_subnet = Some("3 pods of 10.244.7.0/24".to_owned());
    });
    is_found("attachments", Fail, |facts| {
        facts.status.attached.failed = vec!["cbr0/x: its port is gone".to_owned()];
    });
    is_found("ready", Fail, |facts| {
        facts.status.ready = false;
        facts.status.not_ready = vec!["it is new".to_owned()];
    });
}

#[test]
fn what_the_host_lacks_is_found_by_its_check() {
    use Severity::{Fail, Warn};
    is_found("kernel-modules", Warn, |facts| {
        facts
            .modules
            .as_mut()
            .expect("modules")
            .retain(|name| name != "veth");
    });
    is_found("forwarding", Fail, |facts| {
        facts
            .switches
            .insert("net/ipv4/ip_forward", Ok(Some("0".to_owned())));
    });
    is_found("bridge-netfilter", Fail, |facts| {
        facts
            .switches
            .insert("net/bridge/bridge-nf-call-iptables", Ok(None));
    });
    let grown = |name: &'static str| {
        move |facts: &mut Facts| *facts.counters[1].get_mut(name).expect(name) += 1
    };
    is_found("reverse-path", Warn, grown("reverse_path"));
    is_found("receive-drops", Warn, grown("udp_checksum"));
    is_found("conntrack", Fail, grown("conntrack_drop"));
    is_found("neighbour-table", Fail, grown("neighbour_overflows"));
    is_found("neighbour-table", Warn, |facts| {
        facts.counters[1].insert("neighbours", 1000);
    });
    is_found("conntrack", Warn, |facts| {
        facts.counters[1].insert("conntrack_count", 950);
    });
}

fn host(facts: &mut Facts) -> &mut Net {
    facts.net.as_mut().expect("interfaces")
}

#[test]
fn interfaces_routes_and_sizes_that_are_wrong_are_found_by_their_check() {
    use Severity::{Fail, Warn};
    is_found("uplink", Fail, |facts| host(facts).links[0].carrier = false);
    is_found("uplink", Fail, |facts| {
        host(facts).links[0].name = "eth1".to_owned()
    });
    is_found("uplink", Fail, |facts| {
        facts.status.no_uplink = Some("eth0 is down".to_owned())
    });
    is_found("overlap", Warn, |facts| {
        host(facts).addrs.push(with_addr(UPLINK, "10.244.9.1/24"));
    });
    is_found("overlap", Warn, |facts| {
        host(facts).routes.push(route("10.244.64.0/18", UPLINK))
    });
    is_found("paths", Fail, |facts| {
        host(facts).links.push(link(9, "tun0", "tun"));
        host(facts).paths[0].1 = Some(route("10.244.2.0/25", 9));
    });
    is_found("paths", Fail, |facts| host(facts).paths[0].1 = None);
    is_found("tunnel-port", Fail, |facts| {
        host(facts).links.retain(|link| link.vxlan.is_none());
        host(facts).addrs.retain(|addr| addr.index != TUNNEL);
        host(facts).paths.clear();
    });
    is_found("mtu", Fail, |facts| host(facts).links[0].mtu = 1400);
    is_found("bridge", Fail, |facts| host(facts).links[2].up = false);
    is_found("bridge", Warn, |facts| {
        host(facts).addrs.retain(|addr| addr.index != BRIDGE);
    });
}

#[test]
fn what_pods_need_is_found_by_its_check() {
    use Severity::{Fail, Warn};
    is_found("subnet-env", Fail, |facts| facts.subnet_env = Ok(None));
    is_found("subnet-env", Fail, |facts| {
        let env = facts
            .subnet_env
            .as_mut()
            .expect("read")
            .as_mut()
            .expect("a file");
        env.subnets = Dual::of_nets([net("10.244.7.1/24")]);
    });
    is_found("cni-list", Fail, |facts| facts.runtime.list = Ok(None));
    fn list(facts: &mut Facts) -> &mut List {
        let list = facts.runtime.list.as_mut().expect("read");
        list.as_mut().expect("a list")
    }
    is_found("cni-list", Fail, |facts| list(facts).ours = false);
    is_found("cni-list", Fail, |facts| {
        list(facts).error = Some("no JSON".to_owned())
    });
    is_found("cni-plugins", Fail, |facts| {
        list(facts).missing = vec!["portmap".to_owned()]
    });
    is_found("addresses", Fail, |facts| facts.pools[0].used = 253);
    is_found("addresses", Warn, |facts| facts.pools[0].used = 240);
}

#[test]
fn firewalls_are_found_with_an_agent_and_without_one() {
    use Severity::{Fail, Warn};
    for (kind, id) in [
        ("forward", "firewall-forward"),
        ("input", "firewall-input"),
        ("flannel", "flannel-rules"),
    ] {
        is_found(id, Warn, |facts| {
            facts.status.warnings = vec![HostWarning::new(kind, "a chain drops")];
        });
        is_found(id, Fail, |facts| {
            facts.status.warnings = vec![HostWarning::new(kind, "a chain drops")];
            facts.status.not_ready = vec!["a chain drops".to_owned()];
        });
    }
    let mut facts = healthy();
    facts.status.pid = None;
    facts.hindrances = Ok(vec![Hindrance::Iptables {
        legacy: false,
        network: net("10.244.0.0/16"),
        all: true,
    }]);
    assert!(own(&facts).contains(&("firewall-forward", Fail)));
}
