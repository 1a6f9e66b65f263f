//! Whether datagrams that are sent several at once (`UDP_SEGMENT`) reach a peer. Some kernels with some network cards
//! damage them without an error: Linux 7.0 to 7.1.4, for one, writes wrong lengths or checksums into the headers of UDP.
//! The receiver's kernel drops these then, and all that can be seen is loss. No socket of this host can show it, since it
//! happens on the way into the card or behind it. So the peer's kernel is asked: an [echo] alone, and one together
//! with others in a message. Where the first is answered and the second is not, again and again, the peer gets single
//! datagrams from then on, and is tried again later.
//!
//! A value; the time is an argument.

pub mod echo;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use self::echo::{Form, Mark, TOGETHER};

/// What all must be answered for the peer to get several at once: each place, all of one length or not.
const ROUNDS: [Form; 4] = [
    Form::Together {
        place: 0,
        short: false,
    },
    Form::Together {
        place: TOGETHER / 2,
        short: false,
    },
    Form::Together {
        place: TOGETHER - 1,
        short: false,
    },
    Form::Together {
        place: TOGETHER - 1,
        short: true,
    },
];
/// Questions of one round that are not answered, each between two single ones that are, for the peer to get single
/// datagrams. Where one of ten is lost anyway, that is one trial of ten thousand.
const FAILURES: u8 = 4;
/// Single questions that are not answered, for the trial to end without a result.
const SILENCES: u8 = 3;
/// How long an answer to a single question may take.
const ALONE: Duration = Duration::from_secs(1);
/// How long one to another may take at least; four times what a single one took, if that is more.
const AT_LEAST: Duration = Duration::from_millis(100);
/// How long a trial that went well counts.
const LIFETIME: Duration = Duration::from_mins(10);
/// When a peer that gets single datagrams, or did not answer, is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Trials at once.
pub const MOST: usize = 8;

/// A peer, as it is asked. Two leases may name one address, and only one of them rightly: each is judged by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The peer's address.
    pub addr: IpAddr,
    /// The address of its device, by its lease. None if it can't be asked.
    pub inside: Option<IpAddr>,
}

/// How a peer gets its datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it gets single datagrams.
    pub singly: bool,
    /// No trial of this peer has found that: it follows from what was found of all others.
    pub assumed: bool,
    /// When the next trial is due.
    pub due: Duration,
}

/// A question to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// To be asked.
    pub peer: Target,
    /// How it is told from others.
    pub mark: Mark,
    /// How it is asked.
    pub form: Form,
}

/// What is known of a peer from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The peer's address.
    pub peer: IpAddr,
    /// Whether it gets single datagrams from now on.
    pub singly: bool,
    /// Whether that is another way than before.
    pub changed: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A question.
    Ask(Ask),
    /// The trial is over.
    Over(News),
}

/// What is known of all peers, and the trials that are under way.
#[derive(Debug)]
pub struct Trials {
    /// In the order of peers.
    known: Vec<(Target, Known)>,
    running: Vec<Trial>,
    /// Whether trials found that peers get single datagrams, and of none that it gets several. A peer of which nothing was
    /// found gets single ones then, too: the same kernel and the same card send them.
    singly: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// What the last trial with a result found. A trial without one leaves it.
    singly: Option<bool>,
    due: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    peer: Target,
    token: u64,
    round: usize,
    failures: u8,
    silences: u8,
    /// The number of the last question: even for single ones.
    number: u16,
    /// The first number of this round.
    first: u16,
    /// Whether the last question with others was not answered.
    missed: bool,
    /// When the last single question was asked.
    asked: Duration,
    /// How long an answer to one with others may take.
    lasts: Duration,
    deadline: Duration,
}

impl Default for Trials {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            running: Vec::with_capacity(MOST),
            singly: false,
        }
    }
}

impl Trials {
    /// These are the peers from now on; others are forgotten. All memory is taken here.
    pub fn follow(&mut self, peers: impl Iterator<Item = Target>) {
        let mut known: Vec<_> = peers.map(|peer| (peer, self.find(peer))).collect();
        known.sort_unstable_by_key(|(peer, _)| *peer);
        known.dedup_by_key(|(peer, _)| *peer);
        self.known = known;
        self.conclude();
    }

    /// How a peer gets its datagrams.
    pub fn standing(&self, peer: Target) -> Standing {
        let Known { singly, due } = self.find(peer);
        Standing {
            singly: singly.unwrap_or(self.singly),
            assumed: singly.is_none() && self.singly,
            due,
        }
    }

    fn find(&self, peer: Target) -> Known {
        let place = self.known.binary_search_by_key(&peer, |(peer, _)| *peer);
        place.map_or_else(|_| Known::default(), |place| self.known[place].1)
    }

    /// What follows for peers of which nothing was found.
    fn conclude(&mut self) {
        let mut found = self.known.iter().filter_map(|(_, known)| known.singly);
        self.singly = found
            .next()
            .is_some_and(|first| first && found.all(|singly| singly));
    }

    /// Tries a peer if that is due, unless too many are being tried. `token` is unpredictable.
    pub fn begin(&mut self, peer: Target, token: u64, now: Duration) -> Option<Ask> {
        let runs = self.running.iter().any(|trial| trial.peer == peer);
        if runs || self.running.len() == MOST || self.standing(peer).due > now {
            return None;
        }
        let mut trial = Trial {
            peer,
            token,
            round: 0,
            failures: 0,
            silences: 0,
            number: 1,
            first: 2,
            missed: false,
            asked: now,
            lasts: AT_LEAST,
            deadline: now,
        };
        let ask = trial.ask_alone(now);
        self.running.push(trial);
        Some(ask)
    }

    /// Whether a question is of a trial that is under way.
    pub fn knows(&self, mark: Mark) -> bool {
        self.place(mark.token).is_some()
    }

    /// A question was answered. None if it was no question of a trial that is under way, or no answer is needed any more.
    pub fn answered(&mut self, mark: Mark, now: Duration) -> Option<Next> {
        let place = self.place(mark.token)?;
        match self.running[place].answered(mark.number, now)? {
            Ok(ask) => Some(Next::Ask(ask)),
            Err(singly) => Some(Next::Over(self.end(place, Some(singly), now))),
        }
    }

    /// What follows from an answer that has not come in time. To be asked until there is nothing.
    pub fn overdue(&mut self, now: Duration) -> Option<Next> {
        let late = |trial: &Trial| trial.deadline <= now;
        let place = self.running.iter().position(late)?;
        match self.running[place].missed(now) {
            Some(ask) => Some(Next::Ask(ask)),
            None => Some(Next::Over(self.end(place, None, now))),
        }
    }

    /// A trial ends without a result: its questions can't be asked.
    pub fn give_up(&mut self, mark: Mark, now: Duration) {
        if let Some(place) = self.place(mark.token) {
            self.end(place, None, now);
        }
    }

    /// When the next answer is overdue.
    pub fn deadline(&self) -> Option<Duration> {
        self.running.iter().map(|trial| trial.deadline).min()
    }

    /// How many peers are being tried.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    fn place(&self, token: u64) -> Option<usize> {
        self.running.iter().position(|trial| trial.token == token)
    }

    fn end(&mut self, place: usize, found: Option<bool>, now: Duration) -> News {
        let Trial { peer, .. } = self.running.swap_remove(place);
        let before = self.standing(peer).singly;
        let lasts = if found == Some(false) {
            LIFETIME
        } else {
            RETRY
        };
        let known = &mut self.known;
        if let Ok(place) = known.binary_search_by_key(&peer, |(peer, _)| *peer) {
            let known = &mut known[place].1;
            known.singly = found.or(known.singly);
            known.due = now + lasts;
        }
        self.conclude();
        let singly = self.standing(peer).singly;
        News {
            peer: peer.addr,
            singly,
            changed: singly != before,
        }
    }
}

impl Trial {
    /// The next question, or whether the peer gets single datagrams.
    fn answered(&mut self, number: u16, now: Duration) -> Option<Result<Ask, bool>> {
        if number % 2 == 1 {
            if !(self.first..=self.number).contains(&number) {
                return None;
            }
            // One that was late is as good.
            self.round += 1;
            self.failures = 0;
            self.missed = false;
            if self.round == ROUNDS.len() {
                return Some(Err(false));
            }
            let ask = self.ask_together(now);
            self.first = self.number;
            return Some(Ok(ask));
        }
        if number != self.number {
            return None;
        }
        self.failures += u8::from(self.missed);
        self.missed = false;
        if self.failures == FAILURES {
            return Some(Err(true));
        }
        self.lasts = (4 * now.saturating_sub(self.asked)).max(AT_LEAST);
        Some(Ok(self.ask_together(now)))
    }

    /// The last question was not answered in time. Without a next one that was all.
    fn missed(&mut self, now: Duration) -> Option<Ask> {
        if self.number % 2 == 1 {
            self.missed = true;
        } else {
            // Nothing gets there, or back: what was lost before says nothing.
            self.missed = false;
            self.silences += 1;
            if self.silences == SILENCES {
                return None;
            }
        }
        Some(self.ask_alone(now))
    }

    fn ask_alone(&mut self, now: Duration) -> Ask {
        self.number = (self.number | 1).wrapping_add(1);
        self.asked = now;
        self.ask(Form::Alone, now + ALONE)
    }

    fn ask_together(&mut self, now: Duration) -> Ask {
        self.number = (self.number | 1) + 2 * (self.number & 1);
        let form = ROUNDS[self.round.min(ROUNDS.len() - 1)];
        self.ask(form, now + self.lasts)
    }

    fn ask(&mut self, form: Form, deadline: Duration) -> Ask {
        self.deadline = deadline;
        Ask {
            peer: self.peer,
            mark: Mark {
                token: self.token,
                number: self.number,
            },
            form,
        }
    }
}
