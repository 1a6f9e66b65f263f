//! The other nodes in columns.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tweed_forward::counters::Traffic;

use crate::daemon::peers::{Peer, Standing};
use crate::operator::table;

/// A table of the nodes, those first with whom something is wrong.
pub(super) fn words(peers: &[Peer], left_out: usize) -> String {
    if peers.is_empty() {
        return "no other nodes\n".to_owned();
    }
    let traffic = peers.iter().any(|peer| !peer.traffic.is_empty());
    let header = [
        "NODE",
        "SUBNETS",
        "BACKEND",
        "KNOWN FOR",
        "STATE",
        "TRAFFIC",
    ];
    let mut header = header.map(str::to_owned);
    if !traffic {
        header[5].clear();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let rows = peers.iter().map(|peer| row(peer, now));
    let mut text = table::render(std::iter::once(header).chain(rows), &[]);
    if left_out > 0 {
        text += &format!("and {left_out} more peers\n");
    }
    text
}

fn row(peer: &Peer, now: u64) -> [String; 6] {
    let public: Vec<String> = peer.public.values().map(ToString::to_string).collect();
    let subnets: Vec<String> = peer.subnets.values().map(ToString::to_string).collect();
    let node = match &peer.node {
        Some(name) => format!("{name} ({})", public.join(" ")),
        None => public.join(" "),
    };
    let state = match (peer.state, &peer.reason) {
        (Standing::Peer, _) => "peer".to_owned(),
        (Standing::Reserved, _) => "reserved".to_owned(),
        (Standing::Refused, reason) => format!("refused: {}", reason.as_deref().unwrap_or("")),
        (Standing::Held, reason) => format!("held: {}", reason.as_deref().unwrap_or("")),
    };
    let traffic = peer.traffic.iter().map(|exchanged| {
        let (sent, received) = (
            amount(&exchanged.traffic.sent),
            amount(&exchanged.traffic.received),
        );
        format!("sent {sent}, received {received}")
    });
    [
        node,
        subnets.join(" "),
        peer.backend.clone(),
        peer.seen
            .map_or_else(String::new, |seen| age(now.saturating_sub(seen))),
        state,
        traffic.collect::<Vec<_>>().join("; "),
    ]
}

fn amount(carried: &Traffic) -> String {
    format!("{} packets", carried.packets)
}

/// `3 s`, `5 min`, `7 h`, `12 d`.
fn age(seconds: u64) -> String {
    let time = Duration::from_secs(seconds).as_secs();
    match time {
        0..120 => format!("{time} s"),
        120..7_200 => format!("{} min", time / 60),
        7_200..172_800 => format!("{} h", time / 3_600),
        _ => format!("{} d", time / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use tweed_model::Dual;

    use super::*;

    fn peer() -> Peer {
        Peer {
            lease: "10.5.2.0-24".to_owned(),
            node: None,
            public: Dual::of_addrs(["192.0.2.2".parse().expect("an address")]),
            subnets: Dual::of_nets(["10.5.2.0/24".parse().expect("a subnet")]),
            backend: "vxlan".to_owned(),
            seen: None,
            created: 7,
            state: Standing::Peer,
            reason: None,
            kind: None,
            traffic: Vec::new(),
        }
    }

    #[test]
    fn each_node_has_a_line_with_what_it_is_and_why() {
        let refused = Peer {
            node: Some("b".to_owned()),
            state: Standing::Refused,
            reason: Some("outside of the network".to_owned()),
            ..peer()
        };
        assert_eq!(
            words(&[refused, peer()], 3),
            "NODE           SUBNETS      BACKEND  KNOWN FOR  STATE\n\
             b (192.0.2.2)  10.5.2.0/24  vxlan               refused: outside of the network\n\
             192.0.2.2      10.5.2.0/24  vxlan               peer\n\
             and 3 more peers\n"
        );
        assert_eq!(words(&[], 0), "no other nodes\n");
    }

    #[test]
    fn an_age_has_one_unit() {
        let ages = [0, 119, 120, 7_199, 7_200, 172_800].map(age);
        assert_eq!(ages, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
    }
}
