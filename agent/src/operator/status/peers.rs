//! The other nodes in columns.

use crate::daemon::peers::{Peer, Standing};
use crate::operator::table;
use crate::operator::times::ago;

/// Up to so many nodes are listed unasked.
pub(super) const FEW: usize = 20;

/// A table of the nodes, those first with whom something is wrong. `now` is in seconds since 1970.
pub(super) fn words(peers: &[Peer], left_out: usize, now: u64) -> String {
    if peers.is_empty() {
        return "no other nodes\n".to_owned();
    }
    let header = ["PEER", "SUBNET", "BACKEND", "PROBE", "SINCE", ""];
    let rows = peers.iter().map(|peer| row(peer, now));
    let header = header.map(str::to_owned);
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
    let probe = match peer.state {
        Standing::Peer => "-",
        Standing::Reserved => "reserved",
        Standing::Refused => "refused",
        Standing::Held => "held",
    };
    [
        node,
        subnets.join(" "),
        peer.backend.clone(),
        probe.to_owned(),
        peer.seen.map_or_else(String::new, |seen| ago(seen, now)),
        note(peer),
    ]
}

/// Why it is no peer, or what was exchanged with it.
fn note(peer: &Peer) -> String {
    let traffic = peer.traffic.iter().map(|exchanged| {
        let traffic = &exchanged.traffic;
        let (sent, received) = (traffic.sent.packets, traffic.received.packets);
        format!("sent {sent} packets, received {received} packets")
    });
    let all: Vec<String> = peer.reason.iter().cloned().chain(traffic).collect();
    all.join("; ")
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
            seen: Some(1_000),
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
            seen: None,
            state: Standing::Refused,
            reason: Some("outside of the network".to_owned()),
            ..peer()
        };
        assert_eq!(
            words(&[refused, peer()], 3, 1_240),
            "PEER           SUBNET       BACKEND  PROBE    SINCE\n\
             b (192.0.2.2)  10.5.2.0/24  vxlan    refused         outside of the network\n\
             192.0.2.2      10.5.2.0/24  vxlan    -        4 m\n\
             and 3 more peers\n"
        );
        assert_eq!(words(&[], 0, 0), "no other nodes\n");
    }
}
