//! Asks each peer in turn, and judges by the answers. Time, random numbers and answers are handed in.
//!
//! A peer that answers is asked seldom: by the way that pods' packets go, small, and now and then in full size. One answer
//! that fails to come makes it a suspect, which is asked each second, beside the tunnel too. Three in a row say that it
//! doesn't answer; one answer, that it does.

mod micros;
mod side;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use tweed_model::{Dual, Family, SubnetKey};

use crate::health::{Health, State};
use crate::target::{Id, Target};
use micros::Micros;
use side::{Ask, Side, Way};

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
    /// In the order of their ids.
    sides: Vec<Side>,
    /// Turns, and places in that list.
    due: BTreeSet<(Micros, u32)>,
    asked: HashMap<u64, Asked>,
    /// How many are suspects.
    suspects: usize,
    turned: Vec<Turned>,
    counters: Counters,
}

impl Prober {
    /// Takes the peers as they are now: `all` calls what it gets with each of them, in the order of their ids. `random`
    /// gives a number below one for each that is new.
    pub fn set(
        &mut self,
        all: impl FnOnce(&mut dyn FnMut(Id, Target)),
        now: Duration,
        mut random: impl FnMut() -> f64,
    ) {
        let (mut place, mut gone, mut moved) = (0, 0, Vec::new());
        let mut new = Vec::new();
        let sides = &mut self.sides;
        all(&mut |id, target| {
            while let Some(side) = sides.get_mut(place).filter(|side| side.id < id) {
                side.is_gone = true;
                (place, gone) = (place + 1, gone + 1);
            }
            match sides.get_mut(place).filter(|side| side.id == id) {
                Some(side) => {
                    if side.target != target {
                        // A moved peer is another one.
                        *side = Side::new(id, target, now);
                        moved.push(place);
                    }
                    place += 1;
                }
                None => new.push(Side::new(id, target, now)),
            }
        });
        for side in &mut sides[place..] {
            side.is_gone = true;
            gone += 1;
        }
        if gone == 0 && moved.is_empty() && new.is_empty() {
            return;
        }
        let pause = spread(EACH, sides.len() - gone + new.len(), Duration::ZERO).min(SELDOM);
        let mut first = |side: &mut Side| side.is_due_at(now + pause.mul_f64(random()));
        moved
            .into_iter()
            .for_each(|place: usize| first(&mut sides[place]));
        new.iter_mut().for_each(first);
        sides.retain(|side| !side.is_gone);
        if sides.is_empty() {
            *sides = new;
        } else {
            sides.append(&mut new);
            sides.sort_unstable_by_key(|side| side.id);
        }
        self.renumber();
    }

    /// The places in the list are other ones.
    fn renumber(&mut self) {
        let sides = &self.sides;
        let turns = sides
            .iter()
            .zip(0..)
            .map(|(side, place)| (side.due(), place));
        self.due = turns.collect();
        self.suspects = sides.iter().filter(|side| side.is_suspect()).count();
        let mut asked = std::mem::take(&mut self.asked);
        asked.retain(|_, asked| self.side(&asked.id).is_some_and(Side::waits));
        self.asked = asked;
    }

    fn place(&self, id: &Id) -> Option<usize> {
        self.sides.binary_search_by(|side| side.id.cmp(id)).ok()
    }

    fn side(&self, id: &Id) -> Option<&Side> {
        self.sides.get(self.place(id)?)
    }

    /// What is to be sent now. `random` gives numbers that can't be guessed.
    pub fn step(&mut self, now: Duration, mut random: impl FnMut() -> u64) -> Vec<Request> {
        let mut requests = Vec::new();
        for _ in 0..AT_ONCE {
            let first = self.due.first().copied();
            let Some((at, place)) = first.filter(|(at, _)| *at <= now.into()) else {
                break;
            };
            self.due.remove(&(at, place));
            self.lose(place as usize);
            let pace = spread(SUSPECT_EACH, self.suspects, SUSPECT).min(SELDOM);
            let Some(side) = self.sides.get_mut(place as usize) else {
                continue;
            };
            let before = side.health().state;
            let (asks, next) = side.turn(now, pace);
            side.is_due_at(next);
            self.due.insert((side.due(), place));
            for ask in asks {
                let (id, to, length, at) = (side.id, ask.to(side), ask.length, now);
                let number = random();
                self.asked.insert(number, Asked { id, ask, to, at });
                requests.push(Request { to, number, length });
            }
            self.note(place as usize, before);
        }
        requests
    }

    /// Whatever this peer has not answered until its next turn is lost.
    fn lose(&mut self, place: usize) {
        let (lost, sides) = (&mut self.counters.lost, &mut self.sides);
        let Some(side) = sides.get_mut(place).filter(|side| side.waits()) else {
            return;
        };
        let before = side.is_suspect();
        self.asked.retain(|_, asked| {
            let ours = asked.id == side.id;
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
        let Some(place) = self.place(&id) else {
            return;
        };
        let side = &mut self.sides[place];
        if ask.way != Way::FullSize {
            self.counters.add(took);
        }
        let (before, suspect) = (side.health().state, side.is_suspect());
        side.answered(ask, took, now);
        self.suspects -= usize::from(suspect && !side.is_suspect());
        if !side.waits() {
            let number = place as u32;
            self.due.remove(&(side.due(), number));
            side.is_due_at(side.next(now, pause));
            self.due.insert((side.due(), number));
        }
        self.note(place, before);
    }

    /// Notes that a peer has turned, if it has.
    fn note(&mut self, place: usize, before: State) {
        let side = &self.sides[place];
        let now = side.health();
        if before != now.state {
            self.turned.push(Turned {
                id: side.id,
                target: side.target,
                before,
                now,
            });
        }
    }

    /// When the next step is due.
    pub fn due(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| (*at).into())
    }

    /// The peers that have turned since this was asked for last.
    pub fn turned(&mut self) -> Vec<Turned> {
        std::mem::take(&mut self.turned)
    }

    /// The health of a peer: of its subnets' the worst.
    pub fn health(&self, key: &SubnetKey) -> Option<Health> {
        let sides = Family::BOTH.map(|family| self.side(&(*key, family)));
        let sides = sides.into_iter().flatten().map(Side::health);
        sides.reduce(Health::worse)
    }

    /// The peers, each with its health.
    pub fn peers(&self) -> impl Iterator<Item = (SubnetKey, Health)> {
        // The subnets of one peer stand beside each other.
        let sides = self.sides.chunk_by(|one, other| one.id.0 == other.id.0);
        sides.filter_map(|sides| {
            let health = sides.iter().map(Side::health).reduce(Health::worse)?;
            Some((sides.first()?.id.0, health))
        })
    }

    /// The addresses that a peer announces.
    pub fn announced(&self, key: &SubnetKey) -> Dual<IpAddr> {
        let sides = Family::BOTH.map(|family| self.side(&(*key, family)));
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
