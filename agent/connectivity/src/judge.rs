//! What the observations mean: for each way from one responder to another at most one fault, the first that explains
//! the others. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;
use tweed_model::Family;

use super::plan::{Cluster, Side};
use super::protocol::{Arrival, Names, Observations, Pair};

/// What came of asking one responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// It has probed.
    Asked(Observations),
    /// It couldn't be asked, and why.
    Unasked(String),
}

/// All that has been found out.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The responders that took part.
    pub cluster: Cluster,
    /// How many other nodes each was to probe at most.
    pub peers: usize,
    /// In the order of the responders.
    pub rows: Vec<Row>,
    /// The senders of the datagrams that arrived at each; `None` where it couldn't be asked.
    pub arrivals: Vec<Option<Vec<Arrival>>>,
}

/// What is wrong with the way from one responder to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// Neither connections nor datagrams are answered.
    Silent {
        /// Whether the datagrams arrived, where that is known.
        arrived: Option<bool>,
        /// What the kernel said of the connection.
        reason: String,
    },
    /// Datagrams are answered, connections not.
    NoTcp {
        /// What the kernel said.
        reason: String,
    },
    /// Connections are answered, datagrams not.
    NoUdp {
        /// Whether they arrived, where that is known.
        arrived: Option<bool>,
    },
    /// Somebody else answers.
    Mistaken {
        /// The responder that answered.
        name: String,
    },
    /// Small packets pass, large ones don't.
    Big {
        /// Bytes of the packet that should pass.
        size: u32,
        /// Bytes of the largest that does.
        passed: u32,
        /// What a router said would pass, if one did.
        told: Option<u32>,
        /// Whether connections cope, where that was tried.
        transfer: Option<bool>,
    },
    /// Many full packets in a row don't arrive.
    Transfer {
        /// What the kernel said.
        reason: String,
    },
    /// The other end sees another address than ours.
    Source {
        /// The address that arrived.
        seen: IpAddr,
    },
}

impl Fault {
    /// The worse it is, the smaller.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Silent { .. } => 0,
            Self::NoTcp { .. } => 1,
            Self::NoUdp { .. } => 2,
            Self::Mistaken { .. } => 3,
            Self::Big { .. } => 4,
            Self::Transfer { .. } => 5,
            Self::Source { .. } => 6,
        }
    }
}

/// The way from one responder to another in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathResult {
    /// Number of the probing responder.
    pub from: usize,
    /// Number of the probed responder.
    pub to: usize,
    /// Over which protocol.
    pub family: Family,
    /// How long a connection took to come about, in microseconds.
    pub micros: Option<u64>,
    /// What is wrong.
    pub fault: Option<Fault>,
    /// Whether another way's fault is why.
    pub explained: bool,
}

/// What one responder says of service or resolvers: nothing if all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Number of the responder.
    pub from: usize,
    /// What it asked.
    pub what: What,
    /// What is wrong.
    pub fault: Option<String>,
}

/// What a responder asks besides the other responders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The service in front of the responders.
    Service(IpAddr),
    /// One that `resolv.conf` names.
    Resolver(IpAddr),
    /// Any resolver: it knows none.
    Resolvers,
}

/// All faults.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Between responders.
    pub ways: Vec<PathResult>,
    /// To service and resolvers.
    pub locals: Vec<Local>,
    /// Responders that couldn't be asked, and why.
    pub unasked: Vec<(usize, String)>,
    /// Responders that had no time for all, and how many addresses they left out.
    pub unfinished: Vec<(usize, usize)>,
}

/// Finds at most one fault for each path, the one that explains the others.
pub fn judge(survey: &Survey) -> Judgement {
    let mut judgement = Judgement::default();
    for (from, row) in survey.rows.iter().enumerate() {
        match row {
            Row::Unasked(reason) => judgement.unasked.push((from, reason.clone())),
            Row::Asked(seen) => {
                if seen.left > 0 {
                    judgement.unfinished.push((from, seen.left));
                }
                let pairs = seen.pairs.iter();
                judgement
                    .ways
                    .extend(pairs.filter_map(|pair| way(survey, from, pair)));
                for service in &seen.services {
                    judgement.locals.push(Local {
                        from,
                        what: What::Service(service.addr),
                        fault: service.answer.as_ref().err().map(|reason| said(reason)),
                    });
                }
                let names = seen.names.iter();
                judgement
                    .locals
                    .extend(names.flat_map(|names| resolvers(survey, from, names)));
            }
        }
    }
    explain(survey, &mut judgement.ways);
    judgement
}

/// A reason in words, even if there is none.
fn said(reason: &str) -> String {
    match reason {
        "" => "no answer".to_owned(),
        reason => reason.to_owned(),
    }
}

fn way(survey: &Survey, from: usize, pair: &Pair) -> Option<PathResult> {
    let to = usize::from(pair.to);
    survey.cluster.endpoints.get(to)?;
    Some(PathResult {
        from,
        to,
        family: Family::of(&pair.addr),
        micros: pair.tcp.as_ref().ok().map(|connected| connected.micros),
        fault: fault(survey, from, to, pair),
        explained: false,
    })
}

fn fault(survey: &Survey, from: usize, to: usize, pair: &Pair) -> Option<Fault> {
    let arrived = survey.arrivals[to].as_ref().map(|arrivals| {
        let v6 = Family::of(&pair.addr) == Family::V6;
        arrivals
            .iter()
            .any(|arrival| usize::from(arrival.from) == from && arrival.v6 == v6)
    });
    let connected = match (&pair.tcp, &pair.udp) {
        (Err(reason), Err(_)) => {
            let reason = said(reason);
            return Some(Fault::Silent { arrived, reason });
        }
        (Err(reason), Ok(())) => {
            return Some(Fault::NoTcp {
                reason: said(reason),
            });
        }
        (Ok(_), Err(_)) => return Some(Fault::NoUdp { arrived }),
        (Ok(connected), Ok(())) => connected,
    };
    let ends = (
        &survey.cluster.endpoints[from],
        &survey.cluster.endpoints[to],
    );
    if ends
        .1
        .name
        .as_ref()
        .is_some_and(|name| *name != connected.name)
    {
        let name = connected.name.clone();
        return Some(Fault::Mistaken { name });
    }
    if let Some(big) = pair.big.filter(|big| big.passed < big.size) {
        return Some(Fault::Big {
            size: big.size,
            passed: big.passed,
            told: big.told,
            transfer: pair.transfer.as_ref().map(Result::is_ok),
        });
    }
    if let Some(Err(reason)) = &pair.transfer {
        return Some(Fault::Transfer {
            reason: said(reason),
        });
    }
    let between_pods = (ends.0.side, ends.1.side) == (Side::Pod, Side::Pod);
    (between_pods && connected.seen != connected.own).then_some(Fault::Source {
        seen: connected.seen,
    })
}

/// Marks what follows from other faults between the same two nodes, so that one cause is one finding.
fn explain(survey: &Survey, ways: &mut [PathResult]) {
    let ends = |way: &PathResult| {
        let endpoints = &survey.cluster.endpoints;
        (&endpoints[way.from], &endpoints[way.to])
    };
    // To pods it goes over the overlay, from every sender; to nodes below it.
    let mut lost = BTreeSet::new();
    let mut between_pods = BTreeSet::new();
    for way in ways.iter() {
        let (from, to) = ends(way);
        let path = (way.family, from.node.as_str(), to.node.as_str());
        if arrived(way) == Some(false) {
            lost.insert((path, to.side));
        }
        if let (Side::Pod, Side::Pod, Some(fault)) = (from.side, to.side, &way.fault) {
            between_pods.insert((path, fault.rank()));
        }
    }
    for way in ways.iter_mut() {
        let (from, to) = ends(way);
        let there = (way.family, from.node.as_str(), to.node.as_str());
        let back = (way.family, to.node.as_str(), from.node.as_str());
        // If nothing arrives one way, answers to the other way don't either.
        let answer = arrived(way) == Some(true) && lost.contains(&(back, to.side));
        let as_pods = from.side == Side::Node
            && to.side == Side::Pod
            && way
                .fault
                .as_ref()
                .is_some_and(|fault| between_pods.contains(&(there, fault.rank())));
        way.explained = answer || as_pods;
    }
}

/// Whether datagrams arrived on a way on which nothing is answered, where that is known.
fn arrived(way: &PathResult) -> Option<bool> {
    match way.fault {
        Some(Fault::Silent { arrived, .. }) => arrived,
        _ => None,
    }
}

fn resolvers(survey: &Survey, from: usize, names: &Names) -> Vec<Local> {
    let local = |what, fault| Local { from, what, fault };
    if names.resolvers.is_empty() {
        let fault = "/etc/resolv.conf names no resolver".to_owned();
        return vec![local(What::Resolvers, Some(fault))];
    }
    let judged = names.resolvers.iter().map(|(server, answer)| {
        let fault = match answer {
            Err(reason) => Some(said(reason)),
            Ok(addrs)
                if addrs
                    .iter()
                    .any(|addr| survey.cluster.services.contains(addr)) =>
            {
                None
            }
            Ok(addrs) => Some(format!("it says that {} is {addrs:?}", names.name)),
        };
        local(What::Resolver(*server), fault)
    });
    judged.collect()
}
