//! Whose lease is it? The rule by which a node finds its own lease in a store again, shared by all stores, and pure.
//!
//! Leases carry no node name. What identifies a holder is its public address together with its backend data (a VTEP
//! MAC is 46 random bits, a public key more). flannel goes by the address alone, so that nodes behind one NAT, or with
//! the same address on a private management network, share one subnet. Here:
//!
//! * **Own**: same address and same data; or, where the backend announces no data, same address and a subnet that
//!   this node remembers. A reservation for the address that nobody has filled with data is own too.
//! * **Suspect**: only the address or only the data agrees. That is this node after it lost its state or changed its
//!   address; or a second node behind the same NAT; or a cloned machine. A store takes such a lease over only if its
//!   holder doesn't answer. The question is an edit of the entry that changes nothing of its meaning: whoever keeps the
//!   lease puts its own text back.
//! * **Foreign**: everything else, remembered or not. A node that comes back after its lease ran out finds its subnet
//!   taken, and leaves it alone.

use std::time::Duration;

use ipnet::IpNet;

use super::Request;
use crate::model::subnet::keys_overlap;
use crate::model::{Dual, Family, Lease, LeaseAttrs, SubnetKey, lease::Term, wire};

/// How long the holder of a suspect lease has to answer. A live one needs a few milliseconds.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How a lease relates to the node that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// It is this node's.
    Own,
    /// It may be; the holder must be asked.
    Suspect,
    /// It is somebody else's.
    Foreign,
}

/// Whether two announcements come from one address. flannel compares IPv4 alone; IPv6 counts where there is no IPv4.
pub(crate) fn same_public(a: &LeaseAttrs, b: &LeaseAttrs) -> bool {
    match (a.public.v4, b.public.v4) {
        (None, None) => a.public.v6.is_some() && a.public.v6 == b.public.v6,
        (a, b) => a == b,
    }
}

/// Whether the backend data agree: equal in each family that both have, and there is one. A node that goes dual-stack
/// adds a family to its data.
fn same_data(a: &LeaseAttrs, b: &LeaseAttrs) -> bool {
    let mut both = Family::BOTH
        .into_iter()
        .filter_map(|family| a.data.get(family).zip(b.data.get(family)))
        .peekable();
    both.peek().is_some() && both.all(|(a, b)| a == b)
}

/// Whether two announcements come from one holder.
pub(crate) fn same_holder(a: &LeaseAttrs, b: &LeaseAttrs) -> bool {
    let no_data = a.data.is_empty() && b.data.is_empty();
    same_public(a, b) && (no_data || same_data(a, b))
}

fn claim(lease: &Lease, request: &Request) -> Claim {
    let (theirs, ours) = (&lease.attrs, &request.attrs);
    let no_data = theirs.data.is_empty() && ours.data.is_empty();
    let remembered = request.previous.contains(&lease.key.0);
    let unclaimed = lease.term == Term::Reserved && theirs.data.is_empty();
    match (same_public(theirs, ours), same_data(theirs, ours)) {
        (true, true) => Claim::Own,
        (true, false) if unclaimed || (no_data && remembered) => Claim::Own,
        (true, false) | (false, true) => Claim::Suspect,
        (false, false) => Claim::Foreign,
    }
}

/// What the leases in a store mean for a node that wants one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Leases that could be taken over as they are, best first.
    pub(crate) reuse: Vec<(SubnetKey, Claim)>,
    /// Own leases, which must go when another one is taken. Reservations aren't among them.
    pub(crate) own: Vec<SubnetKey>,
    /// What a new lease must not overlap.
    pub(crate) taken: Vec<SubnetKey>,
    /// Subnets worth having again, best first.
    pub(crate) previous: Vec<Dual<IpNet>>,
}

impl Survey {
    /// Looks at all leases; `unreadable` are subnets whose entries can't be read but are there.
    pub(crate) fn of(leases: &[&Lease], unreadable: &[SubnetKey], request: &Request) -> Self {
        let mut survey = Self {
            taken: unreadable.to_vec(),
            previous: request.previous.clone(),
            ..Self::default()
        };
        let mut reuse = Vec::new();
        for lease in leases {
            let claim = claim(lease, request);
            if claim == Claim::Own && lease.term == Term::Leased {
                survey.own.push(lease.key);
                survey.previous.push(lease.key.0);
            } else {
                survey.taken.push(lease.key);
            }
            if claim != Claim::Foreign && fits(&lease.key, request) && !is_overruled(lease, leases)
            {
                reuse.push((rank(lease, claim, request), lease.key, claim));
            }
        }
        reuse.sort_by_key(|(rank, ..)| *rank);
        survey.reuse = reuse
            .into_iter()
            .map(|(_, key, claim)| (key, claim))
            .collect();
        survey
    }
}

/// Reservations first, for somebody wished it so; then what is certainly own; then what this node remembers best.
fn rank(lease: &Lease, claim: Claim, request: &Request) -> (bool, Claim, usize, u64) {
    let memory = request
        .previous
        .iter()
        .position(|nets| *nets == lease.key.0);
    let leased = lease.term == Term::Leased;
    (leased, claim, memory.unwrap_or(usize::MAX), lease.created)
}

fn fits(key: &SubnetKey, request: &Request) -> bool {
    Family::BOTH.into_iter().all(
        |family| match (request.pools.get(family), key.0.get(family)) {
            (Some(pool), Some(net)) => pool.fits(net),
            (None, None) => true,
            _ => false,
        },
    )
}

/// Where leases overlap, the one created first holds.
fn is_overruled(lease: &Lease, leases: &[&Lease]) -> bool {
    leases
        .iter()
        .any(|other| other.created < lease.created && keys_overlap(&other.key, &lease.key))
}

/// The value that asks the holder of a lease whether it lives: the same announcement with one more member, which every
/// reader passes over.
pub(crate) fn question(attrs: &LeaseAttrs, random: u64) -> String {
    let mut text = wire::format_attrs(attrs);
    text.pop();
    text.push_str(&format!(r#","Holder":"{random:016x}"}}"#));
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Pool;

    fn attrs(addr: &str, mac: Option<&str>) -> LeaseAttrs {
        LeaseAttrs {
            public: Dual::of_addrs([addr.parse().unwrap()]),
            backend_type: "vxlan".into(),
            data: Dual {
                v4: mac.map(|mac| json!({"VNI": 1, "VtepMAC": mac})),
                v6: None,
            },
        }
    }

    fn lease(key: &str, attrs: LeaseAttrs, created: u64, term: Term) -> Lease {
        Lease {
            key: key.parse().unwrap(),
            attrs,
            node: None,
            created,
            term,
        }
    }

    fn request(attrs: LeaseAttrs, previous: &[&str]) -> Request {
        Request {
            pools: Dual {
                v4: Some(Pool {
                    network: "10.5.0.0/16".parse().unwrap(),
                    subnet_len: 24,
                    min: "10.5.1.0".parse().unwrap(),
                    max: "10.5.255.0".parse().unwrap(),
                }),
                v6: None,
            },
            attrs,
            previous: previous
                .iter()
                .map(|key| key.parse::<SubnetKey>().unwrap().0)
                .collect(),
            ttl: Duration::from_secs(60),
        }
    }

    fn claim_of(theirs: LeaseAttrs, term: Term, mine: LeaseAttrs, previous: &[&str]) -> Claim {
        claim(
            &lease("10.5.9.0-24", theirs, 1, term),
            &request(mine, previous),
        )
    }

    #[test]
    fn a_lease_with_own_address_and_own_mac_is_own() {
        let mine = attrs("10.0.0.1", Some("a"));
        assert_eq!(claim_of(mine.clone(), Term::Leased, mine, &[]), Claim::Own);
    }

    #[test]
    fn a_lease_with_own_address_and_another_mac_is_suspect_even_if_remembered() {
        let mine = attrs("10.0.0.1", Some("a"));
        let theirs = attrs("10.0.0.1", Some("b"));
        assert_eq!(
            claim_of(theirs.clone(), Term::Leased, mine.clone(), &[]),
            Claim::Suspect
        );
        assert_eq!(
            claim_of(theirs, Term::Leased, mine, &["10.5.9.0-24"]),
            Claim::Suspect
        );
    }

    #[test]
    fn own_mac_under_another_address_is_suspect() {
        let (mine, theirs) = (attrs("10.0.0.1", Some("a")), attrs("10.0.0.2", Some("a")));
        assert_eq!(
            claim_of(theirs, Term::Leased, mine, &["10.5.9.0-24"]),
            Claim::Suspect
        );
    }

    #[test]
    fn a_remembered_subnet_with_a_stranger_in_it_is_foreign() {
        let (mine, theirs) = (attrs("10.0.0.1", None), attrs("10.0.0.2", None));
        assert_eq!(
            claim_of(theirs, Term::Leased, mine, &["10.5.9.0-24"]),
            Claim::Foreign
        );
    }

    #[test]
    fn without_data_memory_decides() {
        let mine = attrs("10.0.0.1", None);
        assert_eq!(
            claim_of(mine.clone(), Term::Leased, mine.clone(), &["10.5.9.0-24"]),
            Claim::Own
        );
        assert_eq!(
            claim_of(mine.clone(), Term::Leased, mine, &[]),
            Claim::Suspect
        );
    }

    #[test]
    fn a_reservation_is_own_until_somebody_fills_it() {
        let mine = attrs("10.0.0.1", Some("a"));
        let empty = attrs("10.0.0.1", None);
        let filled = attrs("10.0.0.1", Some("b"));
        assert_eq!(
            claim_of(empty, Term::Reserved, mine.clone(), &[]),
            Claim::Own
        );
        assert_eq!(claim_of(filled, Term::Reserved, mine, &[]), Claim::Suspect);
    }

    #[test]
    fn nodes_without_any_address_are_strangers() {
        let nobody = LeaseAttrs::default();
        assert!(!same_public(&nobody, &nobody));
    }

    #[test]
    fn ipv6_alone_identifies_by_the_ipv6_address() {
        assert!(same_public(
            &attrs("fd00::1", None),
            &attrs("fd00::1", None)
        ));
        assert!(!same_public(
            &attrs("fd00::1", None),
            &attrs("fd00::2", None)
        ));
        assert!(!same_public(
            &attrs("10.0.0.1", None),
            &attrs("fd00::1", None)
        ));
    }

    #[test]
    fn a_survey_puts_reservations_first_and_own_before_suspect() {
        let mine = attrs("10.0.0.1", Some("a"));
        let twin = attrs("10.0.0.1", Some("b"));
        let other = attrs("10.0.0.2", Some("c"));
        let leases = [
            lease("10.5.1.0-24", twin, 1, Term::Leased),
            lease("10.5.2.0-24", mine.clone(), 2, Term::Leased),
            lease("10.5.3.0-24", other, 3, Term::Leased),
            lease("10.5.4.0-24", attrs("10.0.0.1", None), 4, Term::Reserved),
            lease("10.6.1.0-24", mine.clone(), 5, Term::Leased),
        ];
        let survey = Survey::of(
            &leases.each_ref(),
            &["10.5.8.0-24".parse().unwrap()],
            &request(mine, &[]),
        );
        let keys: Vec<_> = survey
            .reuse
            .iter()
            .map(|(key, claim)| (key.to_string(), *claim))
            .collect();
        assert_eq!(
            keys,
            [
                ("10.5.4.0-24".into(), Claim::Own),
                ("10.5.2.0-24".into(), Claim::Own),
                ("10.5.1.0-24".into(), Claim::Suspect),
            ]
        );
        let texts = |keys: &[SubnetKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&survey.own), ["10.5.2.0-24", "10.6.1.0-24"]);
        assert_eq!(
            texts(&survey.taken),
            ["10.5.8.0-24", "10.5.1.0-24", "10.5.3.0-24", "10.5.4.0-24"]
        );
    }

    #[test]
    fn an_own_lease_that_came_second_is_not_used_again() {
        let mine = attrs("10.0.0.1", Some("a"));
        let leases = [
            lease("10.5.2.0-23", attrs("10.0.0.2", None), 1, Term::Leased),
            lease("10.5.2.0-24", mine.clone(), 2, Term::Leased),
        ];
        assert_eq!(
            Survey::of(&leases.each_ref(), &[], &request(mine, &[])).reuse,
            []
        );
    }

    #[test]
    fn the_question_reads_as_the_same_announcement() {
        let attrs = attrs("10.0.0.1", Some("a"));
        let text = question(&attrs, 7);
        assert_ne!(text, wire::format_attrs(&attrs));
        assert_eq!(wire::parse_attrs(text.as_bytes()), Ok(attrs));
    }
}
