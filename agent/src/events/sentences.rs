//! The sentences of all events: what the log, `tweedd events` and Events of Kubernetes say.

use std::fmt::Display;
use std::net::IpAddr;

use tweed_model::{Dual, Lease, shown};

use super::event::Event;
use super::kind::Kind;

/// So many of several are named.
pub const NAMED: usize = 3;

/// The agent of this version starts, with leases from there.
pub fn agent_started(version: &str, instance: &impl Display, store: &impl Display) -> Event {
    let text = format!("tweedd {version} starts as {instance}, with leases from {store}");
    Event::new(Kind::AgentStarted, &text)
}

/// The agent was told to stop.
pub fn agent_stopped() -> Event {
    Event::new(
        Kind::AgentStopped,
        "tweedd stops; the kernel stays programmed",
    )
}

/// The node has become ready.
pub fn ready() -> Event {
    Event::new(Kind::Ready, "this node is ready")
}

/// It has ceased to be.
pub fn not_ready(reasons: &[String]) -> Event {
    let text = format!("this node is not ready: {}", first_of(reasons));
    Event::new(Kind::NotReady, &text)
}

/// The store has given the lease.
pub fn lease_held(lease: &impl Display) -> Event {
    about(Kind::LeaseHeld, lease, format!("lease {lease} held"))
}

/// The store has lost it.
pub fn lease_lost(lease: &impl Display, reason: &str) -> Event {
    let text = format!("lease {lease} lost, taking it back: {reason}");
    about(Kind::LeaseLost, lease, text)
}

/// Another node has it.
pub fn lease_taken(lease: &impl Display, by: &Dual<IpAddr>) -> Event {
    let text = format!("lease {lease} taken by another node, {}", join(by));
    about(Kind::LeaseTaken, lease, text)
}

/// This node has got another lease than it had.
pub fn subnet_changed(before: &impl Display, now: &impl Display, reserved: bool) -> Event {
    let why = if reserved {
        ": it is reserved for it"
    } else {
        ""
    };
    let text = format!("this node has another subnet{why}: {now}, and had {before}");
    about(Kind::SubnetChanged, now, text)
}

/// Something that the whole overlay stands on is another now.
pub fn session_ended(reason: &str) -> Event {
    let text = format!("session ends, another one begins: {reason}");
    Event::new(Kind::SessionEnded, &text)
}

/// The store doesn't answer.
pub fn store_away(reason: &str) -> Event {
    let text = format!("the store is out of reach: {reason}");
    Event::new(Kind::StoreAway, &text)
}

/// It answers again.
pub fn store_back() -> Event {
    Event::new(Kind::StoreBack, "the store answers again")
}

/// Nodes that have joined, each by name, or the first of many and their number.
pub fn joined(peers: &[&Lease]) -> Vec<Event> {
    let text = |peer: &Lease| format!("peer joined: {}", words(peer));
    of_many(Kind::PeerJoined, "joined", peers, text)
}

/// Nodes that have left.
pub fn left(peers: &[&Lease]) -> Vec<Event> {
    let text = |peer: &Lease| format!("peer left: {}", words(peer));
    of_many(Kind::PeerLeft, "left", peers, text)
}

/// Nodes that announce something else than before.
pub fn changed(peers: &[(&Lease, &Lease)]) -> Vec<Event> {
    let now: Vec<&Lease> = peers.iter().map(|(_, now)| *now).collect();
    let text = |now: &Lease| {
        let before = peers.iter().find(|(_, peer)| peer.key == now.key);
        let public = before.map_or(now.attrs.public, |(before, _)| before.attrs.public);
        match public == now.attrs.public {
            true => format!(
                "peer changed: {}, which announces another device",
                words(now)
            ),
            false => format!("peer moved: {}, was at {}", words(now), join(&public)),
        }
    };
    of_many(Kind::PeerChanged, "changed", &now, text)
}

/// Peers that packets don't reach, or not all, or only slowly; `why` of the first.
pub fn peers_impaired(silent: bool, state: &str, peers: &str, why: &str) -> Event {
    let kind = match silent {
        true => Kind::PeerSilent,
        false => Kind::PeerImpaired,
    };
    about(kind, &peers, format!("{state}: {peers}: {why}"))
}

/// Peers that answer as they did before.
pub fn peers_answer(peers: &str) -> Event {
    about(Kind::PeerAnswers, &peers, format!("answers again: {peers}"))
}

/// A lease in the store is no peer.
pub fn lease_refused(lease: &impl Display, reason: &impl Display) -> Event {
    let text = format!("lease {lease} refused as a peer: {reason}");
    about(Kind::LeaseRefused, lease, text)
}

/// An entry of the store can't be read.
pub fn entry_ignored(key: &str, reason: &str) -> Event {
    let text = format!("store entry ignored: {}: {reason}", shown(key));
    about(Kind::EntryIgnored, &shown(key), text)
}

/// Something of ours was changed by another program, and is as it was.
pub fn repair(objects: &str) -> Event {
    let text = format!("put back what something else had removed or changed: {objects}");
    about(Kind::Repair, &objects, text)
}

/// Another program changes something of ours again and again.
pub fn fight(object: &str) -> Event {
    let text = format!("another program keeps changing {object}; find and stop it");
    about(Kind::Fight, &object, text)
}

/// The kernel said no.
pub fn change_refused(operation: &str, error: &str) -> Event {
    let text = format!("the kernel refused a change: {operation}: {error}");
    about(Kind::ChangeRefused, &operation, text)
}

/// An attachment of a container can't be put right.
pub fn attachment_refused(wrong: &str) -> Event {
    let text = format!("an attachment can't be put right: {wrong}");
    about(Kind::ChangeRefused, &wrong, text)
}

/// The guard keeps peers that the store lacks.
pub fn deletions_held(why: &impl Display) -> Event {
    let text = format!("deletions held back: {why}");
    Event::new(Kind::DeletionsHeld, &text)
}

/// It keeps none any more.
pub fn deletions_over() -> Event {
    Event::new(Kind::DeletionsOver, "deletions are no longer held back")
}

/// The operator has let them go.
pub fn deletions_confirmed(held: &str) -> Event {
    let text = format!("the operator has confirmed the deletions: {held}");
    Event::new(Kind::DeletionsConfirmed, &text)
}

/// There is no uplink now.
pub fn uplink_gone(reason: &str) -> Event {
    let text = format!("the uplink can't be used now: {reason}");
    Event::new(Kind::UplinkGone, &text)
}

/// There is another one, or one again.
pub fn uplink_changed(what: &str) -> Event {
    Event::new(Kind::UplinkChanged, what)
}

/// Pods that start from now on have another MTU.
pub fn mtu_changed(before: u32, now: u32) -> Event {
    let text = format!(
        "the MTU of pods that start from now on is {now}, it was {before}; pods that run keep theirs"
    );
    Event::new(Kind::MtuChanged, &text)
}

/// Something on this host is in the way of pods' packets.
pub fn hindrance(kind: &str, text: &str) -> Event {
    Event::new(Kind::Hindrance, text).about(kind)
}

/// It is no longer.
pub fn hindrance_over(kind: &str, text: &str) -> Event {
    let text = format!("no longer in the way: {text}");
    Event::new(Kind::HindranceOver, &text).about(kind)
}

fn about(kind: Kind, object: &impl Display, text: String) -> Event {
    Event::new(kind, &text).about(&object.to_string())
}

/// An event each for a few peers, one for many.
fn of_many(
    kind: Kind,
    what: &str,
    peers: &[&Lease],
    text: impl Fn(&Lease) -> String,
) -> Vec<Event> {
    if peers.len() <= NAMED {
        let one = |peer: &&Lease| Event::new(kind, &text(peer)).of(peer);
        return peers.iter().map(one).collect();
    }
    let named: Vec<String> = peers.iter().take(NAMED).map(|peer| words(peer)).collect();
    let text = format!(
        "{} peers {what}: {} and {} more",
        peers.len(),
        named.join(", "),
        peers.len() - NAMED
    );
    vec![Event::new(kind, &text)]
}

/// `node-b, 10.244.2.0/24 at 192.0.2.2`.
fn words(peer: &Lease) -> String {
    let node = peer.node.as_ref();
    let node = node.map_or_else(String::new, |node| format!("{}, ", shown(node)));
    format!(
        "{node}{} at {}",
        join(&peer.key.0),
        join(&peer.attrs.public)
    )
}

fn join<T: ToString>(dual: &Dual<T>) -> String {
    let texts: Vec<String> = dual.values().map(ToString::to_string).collect();
    texts.join(" and ")
}

fn first_of(reasons: &[String]) -> String {
    let named: Vec<&str> = reasons.iter().take(NAMED).map(String::as_str).collect();
    match reasons.len().saturating_sub(NAMED) {
        0 => named.join("; "),
        more => format!("{} and {more} more reasons", named.join("; ")),
    }
}
