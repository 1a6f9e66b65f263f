//! One subnet of a peer.

use std::net::IpAddr;
use std::time::Duration;

use tweed_model::Family;

use super::micros::{Micros, RoundTrip};
use crate::echo;
use crate::health::{Health, State};
use crate::target::{Id, Target};

/// An answer that has not come after this time is lost.
const LONGEST: Duration = Duration::from_secs(1);
/// So many lost in a row say that a peer doesn't answer.
const IN_A_ROW: u8 = 3;
/// A node that has just come need not have made its device yet.
const NEW: Duration = Duration::from_secs(20);
/// The longer it has not answered, the less often it is asked: each tenth of that time, and at least so often.
const TENTH: u32 = 10;
const SELDOM: Duration = Duration::from_secs(60);
/// One round in so many asks in full size too.
const FULL_EACH: u8 = 3;
/// How exactly the largest packet is found, in bytes.
const EXACT: u16 = 4;
/// An answer is slow if it takes so many times what the fastest took, and more than this.
const SLOWER: u32 = 5;
const SLOW: Duration = Duration::from_millis(100);

/// Which way a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As pods' packets do: through the tunnel, where there is one.
    Tunnel,
    /// Beside it.
    Underlay,
    /// As pods' packets, and larger.
    FullSize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) way: Way,
    pub(super) length: u16,
}

impl Ask {
    pub(super) fn to(self, side: &Side) -> IpAddr {
        let inside = match self.way {
            Way::Underlay => None,
            Way::Tunnel | Way::FullSize => side.target.inside(&side.id),
        };
        inside.unwrap_or(side.target.underlay)
    }
}

/// There are many of them: what it holds is kept small.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) id: Id,
    pub(super) target: Target,
    /// It is among the peers no more.
    pub(super) is_gone: bool,
    state: State,
    since: Micros,
    last_seen: Option<Micros>,
    rtt: Option<RoundTrip>,
    /// The largest packet that gets there, where that is too little.
    mtu: Option<u16>,
    known: Micros,
    /// When its turn comes, and when the round began that goes on.
    due: Micros,
    round: Micros,
    /// Requests without an answer yet.
    waiting: u8,
    /// Lost in a row, as pods' packets go.
    lost: u8,
    /// The same beside the tunnel, and whether an answer came that way since the first loss.
    lost_beside: u8,
    answers_beside: bool,
    /// The same in full size, and whether the last one is to be counted.
    lost_full: u8,
    full_missing: bool,
    /// Sizes that pass and don't, while the largest is looked for.
    between: Option<(u16, u16)>,
    /// Rounds since the last one in full size.
    rounds: u8,
    fastest: Option<RoundTrip>,
    slow: u8,
}

impl Side {
    pub(super) fn new(id: Id, target: Target, now: Duration) -> Self {
        let now = now.into();
        Self {
            id,
            target,
            is_gone: false,
            state: State::Unknown,
            since: now,
            last_seen: None,
            rtt: None,
            mtu: None,
            known: now,
            due: now,
            round: now,
            waiting: 0,
            lost: 0,
            lost_beside: 0,
            answers_beside: false,
            lost_full: 0,
            full_missing: false,
            between: None,
            rounds: 0,
            fastest: None,
            slow: 0,
        }
    }

    pub(super) fn health(&self) -> Health {
        Health {
            state: self.state,
            since: self.since.into(),
            last_seen: self.last_seen.map(Into::into),
            rtt: self.rtt.map(Into::into),
            mtu: self.mtu,
            tunnel: self.target.tunnel,
        }
    }

    pub(super) fn due(&self) -> Micros {
        self.due
    }

    pub(super) fn is_due_at(&mut self, time: Duration) {
        self.due = time.into();
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.lost > 0
    }

    pub(super) fn waits(&self) -> bool {
        self.waiting > 0
    }

    /// What to ask now, and how long to wait for answers. Suspects take turns at this pace.
    pub(super) fn turn(&mut self, now: Duration, suspects: Duration) -> (Vec<Ask>, Duration) {
        self.settle();
        self.judge(now);
        let smallest = echo::smallest(Family::of(&self.target.underlay));
        let small = |way| Ask {
            way,
            length: smallest,
        };
        let full = |length| Ask {
            way: Way::FullSize,
            length,
        };
        let mut wait = LONGEST;
        let mut asks = Vec::new();
        if self.lost > 0 {
            asks.push(small(Way::Tunnel));
            if self.target.tunnel {
                asks.push(small(Way::Underlay));
            }
            let silent = now.saturating_sub(self.last_seen.unwrap_or(self.known).into());
            wait = suspects.max(LONGEST).max(SELDOM.min(silent / TENTH));
        } else if let Some((passes, fails)) = self.between {
            asks.push(full(passes + (fails - passes) / 2));
        } else if self.looks_for_size() {
            asks.push(small(Way::Tunnel));
            asks.push(full(self.target.mtu));
        } else {
            self.round = now.into();
            asks.push(small(Way::Tunnel));
            if self.rounds == 0 {
                asks.push(full(self.target.mtu));
            }
            self.rounds = (self.rounds + 1) % FULL_EACH;
        }
        self.waiting = asks.len() as u8;
        (asks, now + wait)
    }

    /// When its turn comes after all answers, with this time between two rounds.
    pub(super) fn next(&self, now: Duration, pause: Duration) -> Duration {
        match self.between.is_some() || self.looks_for_size() {
            true => now,
            false => now.max(Duration::from(self.round) + pause),
        }
    }

    fn looks_for_size(&self) -> bool {
        self.lost_full > 0 && self.mtu.is_none()
    }

    /// Where small packets are lost too, a lost large one says nothing.
    fn settle(&mut self) {
        if !std::mem::take(&mut self.full_missing) || self.lost > 0 {
            return;
        }
        self.lost_full = self.lost_full.saturating_add(1);
        if self.lost_full >= IN_A_ROW && self.mtu.is_none() {
            let smallest = echo::smallest(Family::of(&self.target.underlay));
            self.between = Some((smallest, self.target.mtu));
        }
    }

    /// An answer came.
    pub(super) fn answered(&mut self, ask: Ask, took: Duration, now: Duration) {
        self.waiting = self.waiting.saturating_sub(1);
        match ask.way {
            Way::Underlay => {
                self.lost_beside = 0;
                self.answers_beside = true;
            }
            Way::Tunnel => {
                self.lost = 0;
                self.lost_beside = 0;
                self.answers_beside = false;
                self.last_seen = Some(now.into());
                self.rtt = Some(took.into());
                let fastest = self.fastest.map_or(took, Duration::from);
                let slow = took > SLOW && took > fastest.saturating_mul(SLOWER);
                self.slow = if slow { self.slow.saturating_add(1) } else { 0 };
                // It follows a path that has become longer for good, slowly.
                self.fastest = Some(took.min(fastest + fastest / 64).into());
                self.judge(now);
            }
            Way::FullSize if ask.length >= self.target.mtu => {
                self.lost_full = 0;
                self.between = None;
                self.mtu = None;
                self.judge(now);
            }
            Way::FullSize => self.narrow(ask.length, true),
        }
    }

    /// No answer came.
    pub(super) fn lost(&mut self, ask: Ask) {
        self.waiting = self.waiting.saturating_sub(1);
        match ask.way {
            Way::Tunnel => self.lost = self.lost.saturating_add(1),
            Way::Underlay => {
                self.lost_beside = self.lost_beside.saturating_add(1);
                self.answers_beside &= self.lost_beside < IN_A_ROW;
            }
            Way::FullSize if ask.length >= self.target.mtu => self.full_missing = true,
            Way::FullSize => self.narrow(ask.length, false),
        }
    }

    fn narrow(&mut self, length: u16, passes: bool) {
        let Some((low, high)) = &mut self.between else {
            return;
        };
        match passes {
            true => *low = length,
            false => *high = length,
        }
        if *high - *low <= EXACT {
            let smallest = echo::smallest(Family::of(&self.target.underlay));
            // Where none got through, it is not their size.
            self.mtu = Some(*low).filter(|low| *low > smallest);
            self.lost_full = 0;
            self.between = None;
        }
    }

    fn judge(&mut self, now: Duration) {
        let seen = self.last_seen.is_some();
        let state = if self.lost >= IN_A_ROW {
            let new = !seen && now < Duration::from(self.known) + NEW;
            // Where there is no tunnel, a node that lets no echoes in looks as one that is gone.
            let doubtful = !seen && !self.target.tunnel;
            if new || doubtful {
                State::Unknown
            } else if self.answers_beside {
                State::NoAnswerByTunnel
            } else {
                State::NoAnswer
            }
        } else if self.lost > 0 || !seen {
            // Not yet.
            self.state
        } else if self.mtu.is_some() {
            State::MtuReduced
        } else if self.slow >= IN_A_ROW {
            State::Slow
        } else {
            State::Ok
        };
        if state != self.state {
            self.state = state;
            self.since = now.into();
        }
    }
}
