//! Does a packet filter of others surely drop a kind of packets? Rules that aren't understood, or that hold for some
//! packets of the kind only, are taken in favour of the filter: said is only what is certain.

use ipnet::IpNet;

use tweed_model::Family;

/// A kind of packets.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Family of its addresses.
    pub family: Family,
    /// Its destination port, of UDP; none where packets of all protocols are meant.
    pub port: Option<u16>,
    /// Where all of them come from; none where they come from anywhere.
    pub source: Option<IpNet>,
    /// Where all of them go.
    pub destination: Option<IpNet>,
    /// The interface by which most of them come, and which is not `lo`.
    pub input: Option<String>,
    /// Whether connection tracking has never seen an answer to them: each flow is a new one.
    pub new: bool,
}

/// Whether a rule's conditions hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// For all packets of the kind.
    Yes,
    /// For none.
    No,
    /// For some, or nobody knows.
    Perhaps,
}

impl Holds {
    /// Of a condition that is known.
    pub fn of(holds: bool) -> Self {
        match holds {
            true => Self::Yes,
            false => Self::No,
        }
    }

    /// Both conditions.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Perhaps,
        }
    }

    /// The opposite, where a rule says so.
    pub fn inverted(self, inverted: bool) -> Self {
        match self {
            Self::Yes if inverted => Self::No,
            Self::No if inverted => Self::Yes,
            other => other,
        }
    }
}

/// What a rule does with packets for which it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PassageVerdict<At> {
    /// Nothing that decides.
    Continue,
    /// Lets them pass, or nobody knows.
    Accept,
    /// Drops or rejects them.
    Drop,
    /// Back to the chain that called.
    Return,
    /// On in another chain, and back when that is through.
    Jump(At),
    /// On in another chain, and not back.
    Goto(At),
}

/// A rule, as far as it concerns a kind of packets.
#[derive(Clone, Debug)]
pub struct Step<At> {
    /// Whether it holds.
    pub holds: Holds,
    /// What it does then.
    pub verdict: PassageVerdict<At>,
    /// Where the next rule of its chain is.
    pub next: At,
}

/// A packet filter whose rules are asked for one by one.
pub trait Chains {
    /// A place in it.
    type At;

    /// The rule at a place; none where its chain ends.
    fn rule(&mut self, at: &Self::At) -> Option<Step<Self::At>>;
}

/// What becomes of the packets in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All are dropped.
    Dropped,
    /// Some may pass.
    Passes,
    /// What is not dropped comes to the chain's end.
    Falls,
}

/// More chains on the way, or more rules in all, are not looked at.
const DEPTH: usize = 32;
const RULES: usize = 50_000;

/// What becomes of packets that enter at a place.
pub fn fate<C: Chains>(chains: &mut C, at: C::At) -> Fate {
    walk(chains, at, DEPTH, &mut { RULES })
}

fn walk<C: Chains>(chains: &mut C, mut at: C::At, depth: usize, rules: &mut usize) -> Fate {
    // Some of the packets may have left the chain undecided.
    let mut left = false;
    while let Some(step) = chains.rule(&at) {
        if depth == 0 || *rules == 0 {
            return Fate::Passes;
        }
        *rules -= 1;
        at = step.next;
        if step.holds == Holds::No {
            continue;
        }
        let fate = match step.verdict {
            PassageVerdict::Continue => continue,
            PassageVerdict::Accept => Fate::Passes,
            PassageVerdict::Drop => Fate::Dropped,
            PassageVerdict::Return => Fate::Falls,
            PassageVerdict::Goto(to) => walk(chains, to, depth - 1, rules),
            PassageVerdict::Jump(to) => match walk(chains, to, depth - 1, rules) {
                Fate::Falls => continue,
                decided => decided,
            },
        };
        match (fate, step.holds) {
            (Fate::Passes, _) => return Fate::Passes,
            (Fate::Dropped, Holds::Yes) if left => return Fate::Falls,
            (fate, Holds::Yes) => return fate,
            // Those for which it does not hold go on.
            (Fate::Dropped, _) => {}
            (Fate::Falls, _) => left = true,
        }
    }
    Fate::Falls
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = (Holds, PassageVerdict<(usize, usize)>);

    struct Lists(Vec<Vec<Rule>>);

    impl Chains for Lists {
        type At = (usize, usize);

        fn rule(&mut self, at: &Self::At) -> Option<Step<Self::At>> {
            let (holds, verdict) = self.0.get(at.0)?.get(at.1)?.clone();
            let next = (at.0, at.1 + 1);
            Some(Step {
                holds,
                verdict,
                next,
            })
        }
    }

    fn of(chains: &[&[Rule]]) -> Fate {
        let mut lists = Lists(chains.iter().map(|chain| chain.to_vec()).collect());
        fate(&mut lists, (0, 0))
    }

    use Holds::{No, Perhaps, Yes};
    use PassageVerdict::{Accept, Continue, Drop, Goto, Jump, Return};

    #[test]
    fn only_what_is_certain_is_called_dropped() {
        assert_eq!(of(&[&[(Yes, Drop)]]), Fate::Dropped);
        assert_eq!(
            of(&[&[(No, Accept), (Yes, Continue), (Yes, Drop)]]),
            Fate::Dropped
        );
        assert_eq!(of(&[&[(Perhaps, Accept), (Yes, Drop)]]), Fate::Passes);
        assert_eq!(of(&[&[(Perhaps, Drop)]]), Fate::Falls);
        assert_eq!(of(&[&[(Perhaps, Drop), (Yes, Drop)]]), Fate::Dropped);
        assert_eq!(of(&[&[(Perhaps, Return), (Yes, Drop)]]), Fate::Falls);
    }

    #[test]
    fn other_chains_are_followed() {
        let jump = || Jump((1, 0));
        assert_eq!(of(&[&[(Yes, jump())], &[(Yes, Drop)]]), Fate::Dropped);
        assert_eq!(
            of(&[&[(Yes, jump()), (Yes, Drop)], &[(Yes, Return)]]),
            Fate::Dropped
        );
        assert_eq!(
            of(&[&[(Yes, jump()), (Yes, Drop)], &[(Perhaps, Accept)]]),
            Fate::Passes
        );
        assert_eq!(of(&[&[(Yes, Goto((1, 0))), (Yes, Drop)], &[]]), Fate::Falls);
        // As firewalld asks for the zone of an interface.
        let zones: &[Rule] = &[(Perhaps, Goto((1, 0))), (Yes, Goto((1, 0)))];
        assert_eq!(of(&[zones, &[(Yes, Drop)]]), Fate::Dropped);
        // In a circle, which the kernel would not take.
        assert_eq!(of(&[&[(Yes, Jump((0, 0)))]]), Fate::Passes);
    }
}
