//! What a survey of some nodes would bring, and ways to break it.

use super::super::*;
use crate::judge::Row;
use crate::plan::Cluster;
use crate::protocol::{Arrival, Big, Connected, Names, Observations, Pair, Round, Service};

/// Nodes of this many, each with a responder in a pod and one of its own, in both families: all is well.
pub(super) fn well(nodes: usize) -> Survey {
    let mut cluster = Cluster {
        services: vec!["10.96.0.7".parse().unwrap()],
        name: Some("connectivity.ns".to_owned()),
        ..Cluster::default()
    };
    for node in 1..=nodes {
        for (side, v4, v6) in [(Side::Pod, "10.244", "fd00"), (Side::Node, "192.0", "fd12")] {
            let addrs = [format!("{v4}.{node}.2"), format!("{v6}::{node}:2")];
            cluster.endpoints.push(Endpoint {
                node: format!("node{node}"),
                side,
                name: Some(format!("{side:?}{node}")),
                addrs: addrs.iter().map(|addr| addr.parse().unwrap()).collect(),
            });
        }
    }
    let rounds = cluster.rounds(1, 100);
    let everybody: Vec<_> = (0..rounds.len())
        .flat_map(|from| {
            [false, true].map(|v6| Arrival {
                from: u16::try_from(from).unwrap(),
                v6,
            })
        })
        .collect();
    Survey {
        arrivals: vec![Some(everybody); rounds.len()],
        rows: rounds
            .iter()
            .map(|round| Row::Asked(fine(&cluster, round)))
            .collect(),
        cluster,
        peers: 100,
    }
}

fn fine(cluster: &Cluster, round: &Round) -> Observations {
    let own = &cluster.endpoints[usize::from(round.from)];
    let pair = |target: &crate::protocol::Target| {
        let own = own.addr(Family::of(&target.addr)).unwrap();
        Pair {
            to: target.to,
            addr: target.addr,
            tcp: Ok(Connected {
                name: cluster.endpoints[usize::from(target.to)]
                    .name
                    .clone()
                    .unwrap(),
                own,
                seen: own,
                micros: 1250,
            }),
            udp: Ok(()),
            big: Some(Big {
                size: 1450,
                passed: 1450,
                told: None,
            }),
            transfer: target.transfer.then_some(Ok(())),
        }
    };
    let addr = cluster.services[0];
    Observations {
        pairs: round.targets.iter().map(pair).collect(),
        services: vec![Service {
            addr,
            answer: Ok("Pod1".to_owned()),
        }],
        names: Some(Names {
            name: "connectivity.ns.svc.cluster.local".to_owned(),
            resolvers: vec![("10.96.0.10".parse().unwrap(), Ok(vec![addr]))],
        }),
        left: 0,
    }
}

impl Survey {
    pub(super) fn asked(&mut self, index: usize) -> &mut Observations {
        match &mut self.rows[index] {
            Row::Asked(observations) => observations,
            Row::Unasked(reason) => panic!("{reason}"),
        }
    }

    /// Changes what was seen on the ways from one responder to another, `p1` or `n1`, in all families or one.
    pub(super) fn change(
        &mut self,
        from: &str,
        to: &str,
        family: Option<Family>,
        change: impl Fn(&mut Pair),
    ) {
        let to = index(to);
        for pair in &mut self.asked(index(from)).pairs {
            let meant = family.is_none_or(|family| Family::of(&pair.addr) == family);
            if usize::from(pair.to) == to && meant {
                change(pair);
            }
        }
    }

    /// Has nothing pass from one responder to another, and no answers the other way.
    pub(super) fn cut(&mut self, from: &str, to: &str) {
        self.change(from, to, None, silent);
        self.change(to, from, None, silent);
        let number = index(from);
        self.arrivals[index(to)]
            .as_mut()
            .unwrap()
            .retain(|arrival| usize::from(arrival.from) != number);
    }

    pub(super) fn findings(&self) -> Vec<(String, String, String)> {
        let report = PathReport::of(self);
        assert_eq!(report.ok, report.findings.is_empty());
        let findings = report.findings.into_iter();
        findings
            .map(|found| (found.place, found.what, found.hint))
            .collect()
    }
}

pub(super) fn index(name: &str) -> usize {
    let (side, node) = name.split_at(1);
    2 * (node.parse::<usize>().unwrap() - 1) + usize::from(side == "n")
}

pub(super) fn silent(pair: &mut Pair) {
    pair.tcp = Err("no answer in 4s".to_owned());
    pair.udp = Err(String::new());
    (pair.big, pair.transfer) = (None, None);
}

pub(super) fn not_large(pair: &mut Pair) {
    pair.big = Some(Big {
        size: 1450,
        passed: 1250,
        told: None,
    });
    pair.transfer = pair
        .transfer
        .take()
        .map(|_| Err("no answer in 5s".to_owned()));
}
