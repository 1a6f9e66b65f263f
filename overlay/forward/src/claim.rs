//! Claims that the path to a peer is narrower than the uplink, until they are confirmed. An ICMP error does not prove its
//! sender, and the kernel stores its MTU all the same. So the peer's kernel is asked, by an echo as large as the MTU in
//! use (RFC 8899). If it answers, the claim is false, and what the kernel remembers of the path is passed over. If it does
//! not, the claim counts.
//!
//! Nothing is lost meanwhile: the kernel goes by the claim, and fragments what is larger. Pods are told nothing before it is
//! confirmed: their kernels would remember it for ten minutes.
//!
//! A value; the time is an argument.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use super::path_mtu::LIFETIME;
use super::trial::echo::Mark;

/// Questions that are not answered, for a claim to count.
const QUESTIONS: u16 = 3;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_millis(300);
/// How long after a false claim the next one about the same path is not looked at. A stranger costs a peer that many
/// echoes, however many errors it sends; a path that becomes narrow just then loses packets for as long.
const REST: Duration = Duration::from_secs(1);

/// A question for a peer, in a datagram as large as the MTU in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The peer's address.
    pub peer: IpAddr,
    /// How it is told from others.
    pub mark: Mark,
}

/// A claim that counts: the path to a peer takes datagrams of so many bytes, IP header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The peer's address.
    pub peer: IpAddr,
    /// The largest datagram.
    pub path: u32,
    /// Since when.
    pub since: Duration,
}

/// What follows from an answer that has not come in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is asked again.
    Ask(Question),
    /// The claim counts.
    Counts(Found),
}

/// All claims about the paths to the peers, one for each at most.
#[derive(Debug, Default)]
pub struct Claims(Vec<Claim>);

#[derive(Clone, Copy, Debug)]
struct Claim {
    peer: IpAddr,
    path: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked { mark: Mark, deadline: Duration },
    Counts { since: Duration },
    False { since: Duration },
}

impl Claims {
    /// These are the peers from now on; what was said of others is forgotten.
    pub fn follow(&mut self, is_peer: impl Fn(IpAddr) -> bool) {
        self.0.retain(|claim| is_peer(claim.peer));
    }

    /// Something says that the path to a peer takes datagrams of `path` bytes only. The question that tells whether it is
    /// so, if it is to be asked. `token` is unpredictable.
    pub fn add(&mut self, peer: IpAddr, path: u32, token: u64, now: Duration) -> Option<Question> {
        self.0.retain(|claim| claim.state.lasts(now));
        let before = self.0.iter_mut().find(|claim| claim.peer == peer);
        if let Some(claim) = before {
            match claim.state {
                State::Asked { .. } => {
                    claim.path = claim.path.min(path);
                    return None;
                }
                State::Counts { .. } if claim.path <= path => return None,
                State::False { since } if now < since + REST => return None,
                State::Counts { .. } | State::False { .. } => {}
            }
        }
        self.0.retain(|claim| claim.peer != peer);
        let mark = Mark { token, number: 1 };
        let deadline = now + ANSWER;
        let state = State::Asked { mark, deadline };
        self.0.push(Claim { peer, path, state });
        Some(Question { peer, mark })
    }

    /// A question was answered: the claim is false. The peer, if it was a question of ours.
    pub fn answered(&mut self, mark: Mark, now: Duration) -> Option<IpAddr> {
        let claim = self.asked(|asked, _| asked.token == mark.token)?;
        claim.state = State::False { since: now };
        Some(claim.peer)
    }

    /// A question can't be asked, or the interface itself is too narrow for it: the claim counts.
    pub fn give_up(&mut self, mark: Mark, now: Duration) -> Option<Found> {
        let claim = self.asked(|asked, _| asked == mark)?;
        Some(claim.count(now))
    }

    /// What follows from an answer that has not come in time. To be asked until there is nothing.
    pub fn overdue(&mut self, now: Duration) -> Option<Next> {
        let claim = self.asked(|_, deadline| deadline <= now)?;
        let State::Asked { mut mark, .. } = claim.state else {
            return None;
        };
        if mark.number == QUESTIONS {
            return Some(Next::Counts(claim.count(now)));
        }
        mark.number += 1;
        let deadline = now + ANSWER;
        claim.state = State::Asked { mark, deadline };
        let peer = claim.peer;
        Some(Next::Ask(Question { peer, mark }))
    }

    /// Whether what the kernel remembers of the path to a peer is false.
    pub fn is_false(&self, peer: IpAddr, now: Duration) -> bool {
        let mut all = self.0.iter();
        let claim = all.find(|claim| claim.peer == peer);
        claim.is_some_and(|claim| {
            matches!(claim.state, State::False { .. }) && claim.state.lasts(now)
        })
    }

    /// What counts.
    pub fn found(&self, now: Duration) -> impl Iterator<Item = Found> {
        let lasting = self.0.iter().filter(move |claim| claim.state.lasts(now));
        lasting.filter_map(|&Claim { peer, path, state }| match state {
            State::Counts { since } => Some(Found { peer, path, since }),
            State::Asked { .. } | State::False { .. } => None,
        })
    }

    /// When the next answer is overdue.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines().min()
    }

    /// How many claims are being looked at.
    pub fn running(&self) -> usize {
        self.deadlines().count()
    }

    fn deadlines(&self) -> impl Iterator<Item = Duration> {
        self.0.iter().filter_map(|claim| match claim.state {
            State::Asked { deadline, .. } => Some(deadline),
            State::Counts { .. } | State::False { .. } => None,
        })
    }

    fn asked(&mut self, is_it: impl Fn(Mark, Duration) -> bool) -> Option<&mut Claim> {
        self.0.iter_mut().find(|claim| match claim.state {
            State::Asked { mark, deadline } => is_it(mark, deadline),
            State::Counts { .. } | State::False { .. } => false,
        })
    }
}

impl Claim {
    fn count(&mut self, now: Duration) -> Found {
        self.state = State::Counts { since: now };
        Found {
            peer: self.peer,
            path: self.path,
            since: now,
        }
    }
}

impl State {
    /// Whether it is not old: a kernel forgets what it was told of a path after the same time.
    fn lasts(self, now: Duration) -> bool {
        match self {
            Self::Asked { .. } => true,
            Self::Counts { since } | Self::False { since } => now < since + LIFETIME,
        }
    }
}
