//! Asks each peer in turn, and judges by the answers. Time, random numbers and answers are handed in.
//!
//! A peer that answers is asked seldom: by the way that pods' packets go, small, and now and then in full size. One answer
//! that fails to come makes it a suspect, which is asked each second, beside the tunnel too. Three in a row say that it
//! doesn't answer; one answer, that it does.

mod side;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use tweed_model::{Dual, Family, SubnetKey};

use crate::health::{Health, State};
use crate::target::Target;
use side::{Ask, Side, Way};

/// Of a peer there is one for each of its subnets.
pub type Id = (SubnetKey, Family);
/// What to ask.
pub type Targets = BTreeMap<Id, Target>;

/// An ok peer is asked so often where there are few, and at least so often where there are many.
const OFTEN: Duration = Duration::from_secs(10);
const SELDOM: Duration = Duration::from_secs(60);
/// For each peer, so much time between two looks at the same.
const EACH: Duration = Duration::from_millis(30);
/// The same of suspects.
const SUSPECT: Duration = Duration::from_secs(1);
const SUSPECT_EACH: Duration = Duration::from_millis(20);
/// So many peers have their turn in one step.
const AT_ONCE: usize = 64;
/// Upper bounds of the buckets of round-trip times, microseconds.
pub const BUCKETS: [u64; 10] = [
    100, 250, 500, 1_000, 2_500, 10_000, 50_000, 100_000, 250_000, 1_000_000,
];

/// A request that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// To which address.
    pub to: IpAddr,
    /// What the answer carries.
    pub number: u64,
    /// Bytes of the packet, with its IP header.
    pub length: u16,
}

/// A peer whose state has turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turned {
    /// The peer.
    pub id: Id,
    /// Where it is asked.
    pub target: Target,
    /// Its state before.
    pub before: State,
    /// What it is now.
    pub now: Health,
}

/// What was asked, and is not answered yet.
#[derive(Debug)]
struct Asked {
    id: Id,
    ask: Ask,
    to: IpAddr,
    at: Duration,
}

/// What happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests without an answer: through the tunnel, beside it, in full size.
    pub lost: [u64; 3],
    /// Answers by how long they took: those of each bucket alone, and the slower ones last.
    pub answers: [u64; BUCKETS.len() + 1],
    /// The sum of these times, microseconds.
    pub micros: u64,
}

/// All peers.
#[derive(Debug, Default)]
pub struct Prober {
    sides: BTreeMap<Id, Side>,
    due: BTreeSet<(Duration, Id)>,
    asked: HashMap<u64, Asked>,
    /// How many are suspects.
    suspects: usize,
    turned: Vec<Turned>,
    counters: Counters,
}

impl Prober {
    /// Takes the peers as they are now. `random` gives a number below one for each that is new.
    pub fn set(&mut self, targets: &Targets, now: Duration, mut random: impl FnMut() -> f64) {
        let gone = self.sides.keys().filter(|id| !targets.contains_key(id));
        for id in gone.copied().collect::<Vec<_>>() {
            self.remove(id);
        }
        let pause = spread(EACH, targets.len(), Duration::ZERO).min(SELDOM);
        let mut new = Vec::new();
        for (id, target) in targets {
            match self.sides.get(id) {
                Some(side) if side.target == *target => continue,
                // A moved peer is another one.
                Some(_) => self.remove(*id),
                None => {}
            }
            let mut side = Side::new(*target, now);
            side.due = now + pause.mul_f64(random());
            new.push((*id, side));
        }
        self.due
            .extend(new.iter().map(|(id, side)| (side.due, *id)));
        match self.sides.is_empty() {
            // A map that is made at once takes half the memory of one that grows in order.
            true => self.sides = new.into_iter().collect(),
            false => self.sides.extend(new),
        }
    }

    fn remove(&mut self, id: Id) {
        if let Some(side) = self.sides.remove(&id) {
            self.suspects -= usize::from(side.is_suspect());
            self.due.remove(&(side.due, id));
            self.asked.retain(|_, asked| asked.id != id);
        }
    }

    /// What is to be sent now. `random` gives numbers that can't be guessed.
    pub fn step(&mut self, now: Duration, mut random: impl FnMut() -> u64) -> Vec<Request> {
        let mut requests = Vec::new();
        for _ in 0..AT_ONCE {
            let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) else {
                break;
            };
            self.due.remove(&(at, id));
            self.lose(id);
            let pace = spread(SUSPECT_EACH, self.suspects, SUSPECT).min(SELDOM);
            let Some(side) = self.sides.get_mut(&id) else {
                continue;
            };
            let before = side.health().state;
            let (asks, next) = side.turn(now, pace);
            side.due = next;
            let (target, after) = (side.target, *side.health());
            self.note(id, target, before, after);
            self.due.insert((next, id));
            for ask in asks {
                let to = ask.to(&target);
                let number = random();
                let length = ask.length;
                let at = now;
                self.asked.insert(number, Asked { id, ask, to, at });
                requests.push(Request { to, number, length });
            }
        }
        requests
    }

    /// Whatever this peer has not answered until its next turn is lost.
    fn lose(&mut self, id: Id) {
        let (lost, sides) = (&mut self.counters.lost, &mut self.sides);
        let Some(side) = sides.get_mut(&id).filter(|side| side.waits()) else {
            return;
        };
        let before = side.is_suspect();
        self.asked.retain(|_, asked| {
            let ours = asked.id == id;
            if ours {
                side.lost(asked.ask);
                lost[match asked.ask.way {
                    Way::Tunnel => 0,
                    Way::Underlay => 1,
                    Way::FullSize => 2,
                }] += 1;
            }
            !ours
        });
        // Nothing that is lost makes it less of a suspect.
        self.suspects += usize::from(side.is_suspect() && !before);
    }

    /// An answer with this number came from this address.
    pub fn take(&mut self, number: u64, from: IpAddr, now: Duration) {
        let Some(asked) = self.asked.get(&number).filter(|asked| asked.to == from) else {
            return;
        };
        let (id, ask, took) = (asked.id, asked.ask, now.saturating_sub(asked.at));
        self.asked.remove(&number);
        let pause = spread(EACH, self.sides.len(), OFTEN).min(SELDOM);
        let Some(side) = self.sides.get_mut(&id) else {
            return;
        };
        if ask.way != Way::FullSize {
            self.counters.add(took);
        }
        let (before, suspect) = (side.health().state, side.is_suspect());
        side.answered(ask, took, now);
        self.suspects -= usize::from(suspect && !side.is_suspect());
        if !side.waits() {
            self.due.remove(&(side.due, id));
            side.due = side.next(now, pause);
            self.due.insert((side.due, id));
        }
        let (target, after) = (side.target, *side.health());
        self.note(id, target, before, after);
    }

    fn note(&mut self, id: Id, target: Target, before: State, now: Health) {
        if before != now.state {
            self.turned.push(Turned {
                id,
                target,
                before,
                now,
            });
        }
    }

    /// When the next step is due.
    pub fn due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The peers that have turned since this was asked for last.
    pub fn turned(&mut self) -> Vec<Turned> {
        std::mem::take(&mut self.turned)
    }

    /// The health of a peer: of its subnets' the worst.
    pub fn health(&self, key: &SubnetKey) -> Option<Health> {
        let sides = [Family::V4, Family::V6].map(|family| self.sides.get(&(*key, family)));
        let sides = sides.into_iter().flatten().map(|side| *side.health());
        sides.reduce(Health::worse)
    }

    /// The peers, each with its health.
    pub fn peers(&self) -> impl Iterator<Item = (SubnetKey, Health)> {
        // The subnets of one peer stand beside each other.
        let mut sides = self.sides.iter().peekable();
        std::iter::from_fn(move || {
            let ((key, _), side) = sides.next()?;
            let mut health = *side.health();
            while let Some((_, side)) = sides.next_if(|((next, _), _)| next == key) {
                health = health.worse(*side.health());
            }
            Some((*key, health))
        })
    }

    /// The addresses that a peer announces.
    pub fn announced(&self, key: &SubnetKey) -> Dual<IpAddr> {
        let sides = [Family::V4, Family::V6].map(|family| self.sides.get(&(*key, family)));
        Dual::of_addrs(sides.into_iter().flatten().map(|side| side.target.underlay))
    }

    /// How many peers are in which state.
    pub fn states(&self) -> BTreeMap<State, usize> {
        let mut states = BTreeMap::new();
        for (_, health) in self.peers() {
            *states.entry(health.state).or_default() += 1;
        }
        states
    }

    /// How many peers there are, if all of them have answered once and none does now. Of a single one it can't be said
    /// which side fails.
    pub fn all_lost(&self) -> Option<usize> {
        let lost = |health: Health| health.state.is_lost() && health.last_seen.is_some();
        let mut peers = 0;
        for (_, health) in self.peers() {
            peers += 1;
            if !lost(health) {
                return None;
            }
        }
        (peers > 1).then_some(peers)
    }

    /// What happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Counters {
    fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|most| micros <= *most);
        self.answers[bucket.unwrap_or(BUCKETS.len())] += 1;
        self.micros = self.micros.saturating_add(micros);
    }
}

/// So much time for each of so many, and no less than this in all.
fn spread(each: Duration, count: usize, least: Duration) -> Duration {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    each.saturating_mul(count).max(least)
}

#[cfg(test)]
mod tests;
