//! What there is on the host, by its reservations, files, rules and links; and what there should be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::chained::files;
use super::super::lab::{Host, sh};
use super::container::{Container, Stage};
use super::network::Network;

/// All that attachments have on the host.
#[derive(Debug, PartialEq)]
pub(super) struct State {
    reservations: Vec<(&'static str, BTreeSet<String>)>,
    /// Addresses of which it is written down which namespace has them.
    noted: BTreeSet<String>,
    /// Owners in tables of ours.
    owners: BTreeSet<String>,
    /// Ports of the host, each with its owner.
    ports: BTreeSet<(u16, String)>,
    /// Addresses that the host forwards for.
    forwarded: BTreeSet<String>,
    veths: usize,
    limits: usize,
    records: usize,
    saved: BTreeSet<String>,
    tuned: usize,
}

pub(super) fn of(host: &Host, networks: &[Network]) -> State {
    let table = sh("nft list table inet tweed-cni 2>/dev/null || true");
    let kept = |name: &str| files(&host.path(name)).into_iter();
    let of_network = |network: &Network| {
        let addresses = host.reservations(network.name).into_iter().collect();
        (network.name, addresses)
    };
    // An ADD that was repeated has another file, which goes with the first. The empty one of an ADD that was killed before
    // it wrote goes with the next ADD or DEL of its container: whose network it is of, GC can't know.
    let saved = kept("flannel").filter(|name| !name.ends_with(".unfinished"));
    let saved = saved.map(|name| name.trim_end_matches("@eth0").to_owned());
    // So does the device of an ADD that was killed before it named the device's owner.
    let limits = sh("ip -o link show type ifb");
    let limits = limits.lines().filter(|line| line.contains("alias "));
    State {
        reservations: networks.iter().map(of_network).collect(),
        noted: networks
            .iter()
            .flat_map(|it| kept(&format!("data/{}/.netns", it.name)))
            .collect(),
        owners: owners(&table),
        ports: ports(&table),
        forwarded: forwarded(networks),
        veths: host.veths().len(),
        limits: limits.count(),
        records: kept("run")
            .filter(|name| name.ends_with(".firewall.json"))
            .count(),
        saved: saved.collect(),
        tuned: kept("tuning").count(),
    }
}

/// Compares with what the model says, and asks the plugins.
pub(super) fn compare(host: &Host, networks: &[Network], containers: &[Container<'_>]) {
    let attached = || {
        containers
            .iter()
            .filter_map(|container| match &container.stage {
                Stage::Attached(result) => Some((container, Container::addresses(result))),
                _ => None,
            })
    };
    let in_network = |network: &Network| {
        let of_it = attached().filter(|(it, _)| it.network.name == network.name);
        let addresses = of_it.flat_map(|(_, addresses)| addresses);
        (network.name, addresses.collect::<BTreeSet<_>>())
    };
    let owner = |it: &Container<'_>| format!("{}/{}/eth0", it.network.name, it.pod.name());
    let with = |names: &'static [&str]| attached().filter(|(it, _)| it.network.has(names));
    let expected = State {
        reservations: networks.iter().map(in_network).collect(),
        noted: attached().flat_map(|(_, addresses)| addresses).collect(),
        owners: attached().map(|(it, _)| owner(it)).collect(),
        ports: attached()
            .filter_map(|(it, _)| Some((it.host_port?, owner(it))))
            .collect(),
        forwarded: with(&["firewall"])
            .flat_map(|(_, addresses)| addresses)
            .collect(),
        veths: attached().count(),
        limits: with(&["bandwidth", "tweed"]).count(),
        records: with(&["firewall"]).count(),
        saved: with(&["flannel"])
            .map(|(it, _)| it.pod.name().to_owned())
            .collect(),
        tuned: with(&["tuning", "tweed"]).count(),
    };
    reaches(host, networks, &expected);
    for container in containers {
        match &container.stage {
            Stage::Attached(result) => {
                container
                    .network
                    .check(&container.pod, container.host_port, result);
            }
            Stage::Dead => {}
            _ => assert!(container.pod.links().is_empty(), "{}", container.pod.name()),
        }
    }
}

/// The kernel removes the pairs of a namespace that has gone in the background.
pub(super) fn reaches(host: &Host, networks: &[Network], expected: &State) {
    let begin = Instant::now();
    while of(host, networks) != *expected && begin.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(of(host, networks), *expected);
}

fn owners(table: &str) -> BTreeSet<String> {
    let comments = table.split("comment \"").skip(1);
    let comments = comments.filter_map(|rest| rest.split('"').next());
    let owners = comments.filter(|comment| comment.contains("/pod-"));
    owners.map(str::to_owned).collect()
}

/// Elements such as `tcp . 8000 comment "net/pod/eth0" : 10.0.0.2 . 80`.
fn ports(table: &str) -> BTreeSet<(u16, String)> {
    let elements = table.split("tcp . ").skip(1);
    let read = |element: &str| {
        let port = element.split_whitespace().next()?.parse().ok()?;
        let owner = element.split("comment \"").nth(1)?.split('"').next()?;
        Some((port, owner.to_owned()))
    };
    elements.filter_map(read).collect()
}

fn forwarded(networks: &[Network]) -> BTreeSet<String> {
    let rules = sh("iptables-nft-save -t filter");
    let words = rules.split_whitespace();
    let addresses = words.filter_map(|word| word.strip_suffix("/32"));
    let is_ours = |addr: &&str| networks.iter().any(|it| addr.starts_with(it.prefix));
    addresses.filter(is_ours).map(str::to_owned).collect()
}
