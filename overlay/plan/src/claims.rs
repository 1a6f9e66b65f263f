//! What leases claim for themselves alone: subnets, public addresses, MACs. What follows from a lease that shares no claim
//! with another one follows from it alone; where two claim the same, age and order decide, and each counts for the other.

use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::subnet::overlap;
use tweed_model::{Family, Lease, Mac, SharedSet};

/// Something that one lease can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// A subnet. One that overlaps it is the same claim.
    Net(IpNet),
    /// An address that packets are sent to.
    Addr(IpAddr),
    /// The address of a VTEP.
    Mac(Family, Mac),
}

/// The claims of all leases.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims {
    all: SharedSet<Claim>,
    /// Those that more than one lease makes.
    contested: SharedSet<Claim>,
}

impl Claims {
    /// The claims of these leases.
    pub(super) fn of<'a>(leases: impl Iterator<Item = &'a Lease>) -> Self {
        let mut all: Vec<Claim> = leases.flat_map(claims).collect();
        all.sort_unstable();
        let mut contested = Vec::new();
        // Of nested subnets the widest comes first.
        let mut widest: Option<Claim> = None;
        for claim in &all {
            match widest {
                Some(first) if first.meets(claim) => contested.extend([first, *claim]),
                _ => widest = Some(*claim),
            }
        }
        all.dedup();
        Self {
            all: all.into_iter().collect(),
            contested: contested.into_iter().collect(),
        }
    }

    /// Replaces leases by others. False if one of these shares a claim with any other: then nothing is known any more.
    pub(super) fn replace<'a>(
        &mut self,
        before: impl Iterator<Item = &'a Lease>,
        now: impl Iterator<Item = &'a Lease>,
    ) -> bool {
        let mut before = before.flat_map(claims);
        let gone = before.all(|claim| !self.is_contested(&claim) && self.all.remove(&claim));
        let mut now = now.flat_map(claims);
        gone && now.all(|claim| !self.is_made(&claim) && self.all.insert(claim))
    }

    /// Whether a lease makes this claim.
    fn is_made(&self, claim: &Claim) -> bool {
        let below = self.all.at_or_below(&claim.last());
        below.is_some_and(|below| below.meets(claim)) || self.is_contested(claim)
    }

    fn is_contested(&self, claim: &Claim) -> bool {
        match claim {
            // They may lie within each other, so that the nearest one says nothing. There are few.
            Claim::Net(_) => self.contested.iter().any(|other| other.meets(claim)),
            _ => self.contested.contains(claim),
        }
    }
}

impl Claim {
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Net(a), Self::Net(b)) => overlap(a, b),
            (a, b) => a == b,
        }
    }

    /// The last claim in order that can meet this one, but for those around it.
    fn last(&self) -> Self {
        match self {
            Self::Net(net) => Self::Net(net.broadcast().into()),
            other => *other,
        }
    }
}

fn claims(lease: &Lease) -> impl Iterator<Item = Claim> {
    let nets = lease.key.0.map(|_, net| Claim::Net(net.trunc()));
    let addrs = lease.attrs.public.map(|_, addr| Claim::Addr(*addr));
    let macs = lease.attrs.vtep_macs();
    let macs = macs.map(|family, mac| Claim::Mac(family, *mac));
    [nets, addrs, macs]
        .into_iter()
        .flat_map(|both| [both.v4, both.v6])
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tweed_model::lease::Term;
    use tweed_model::{Dual, LeaseAttrs, SubnetKey};

    fn lease(net: &str, addr: &str) -> Lease {
        Lease {
            key: SubnetKey(Dual::of_nets([net.parse().unwrap()])),
            attrs: LeaseAttrs {
                public: Dual::of_addrs([addr.parse().unwrap()]),
                ..LeaseAttrs::default()
            },
            node: None,
            created: 1,
            term: Term::Leased,
        }
    }

    #[test]
    fn a_lease_that_shares_nothing_comes_and_goes_by_itself() {
        let all = [
            lease("10.1.0.0/24", "192.0.2.1"),
            lease("10.1.2.0/24", "192.0.2.2"),
        ];
        let new = lease("10.1.1.0/24", "192.0.2.3");
        let mut claims = Claims::of(all.iter());
        assert!(claims.replace([].iter(), [&new].into_iter()));
        assert!(claims.replace([&new, &all[0]].into_iter(), [&new].into_iter()));
        let moved = lease("10.1.1.0/24", "192.0.2.9");
        assert!(claims.replace([&new].into_iter(), [&moved].into_iter()));
    }

    #[test]
    fn what_two_leases_claim_is_told() {
        let all = [
            lease("10.1.0.0/24", "192.0.2.1"),
            lease("10.2.0.0/16", "192.0.2.2"),
            lease("10.2.4.0/24", "192.0.2.3"),
            lease("10.3.0.0/24", "192.0.2.4"),
            lease("10.3.1.0/24", "192.0.2.4"),
        ];
        let replaced = |before: &[&Lease], now: &[&Lease]| {
            let mut claims = Claims::of(all.iter());
            claims.replace(before.iter().copied(), now.iter().copied())
        };
        for (net, addr) in [
            ("10.1.0.128/25", "192.0.2.9"),
            ("10.0.0.0/15", "192.0.2.9"),
            ("10.2.200.0/24", "192.0.2.9"),
            ("10.9.0.0/24", "192.0.2.1"),
            ("10.9.0.0/24", "192.0.2.4"),
        ] {
            assert!(!replaced(&[], &[&lease(net, addr)]), "{net} {addr}");
        }
        for contested in &all[1..] {
            assert!(!replaced(&[contested], &[]), "{contested:?}");
        }
        assert!(replaced(&[&all[0]], &[]));
        let twins = [
            lease("10.9.0.0/24", "192.0.2.9"),
            lease("10.9.1.0/24", "192.0.2.9"),
        ];
        assert!(!replaced(&[], &[&twins[0], &twins[1]]));
    }
}
