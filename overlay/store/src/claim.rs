//! Which lease is the own one: the rule by which a node finds its own lease in a store again, shared by all stores, and pure.
//!
//! Leases carry no node name. What identifies a holder is its public address together with its backend data (a VTEP
//! MAC is 46 random bits, a public key more). flannel goes by the address alone, so that nodes behind one NAT, or with
//! the same address on a private management network, share one subnet. Here:
//!
//! * **Own**: same address and same data, be it that of another backend which the node runs as well; or, where the backend announces no data, same address and a subnet that
//!   this node remembers. A reservation for the address that nobody has filled with data is own too; and the entry that
//!   this very process announced until now, whatever it announces from now on.
//! * **Suspect**: only the address or only the data agrees; or neither does, but it is the very entry that this node
//!   held last, by its order of creation (a backend without data, and another address since). That is this node after it lost its state or changed its
//!   address; or a second node behind the same NAT; or a cloned machine. A store takes such a lease over only if its
//!   holder doesn't answer. The question is an edit of the entry that changes nothing of its meaning: the agent that keeps the
//!   lease puts its own text back.
//! * **Foreign**: everything else, remembered or not. A node that comes back after its lease ran out finds its subnet
//!   taken, and leaves it alone.

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use tweed_model::lease::Term;
use tweed_model::subnet::{self, Exhausted, keys_overlap, overlap};
use tweed_model::{BackendData, Dual, Family, Lease, LeaseAttrs, SubnetKey, wire};

use super::Request;

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

/// Whether backend data agree: equal in each family that both have, and there is one. A node that goes dual-stack adds
/// a family to its data.
fn same_data(a: &Dual<BackendData>, b: &Dual<BackendData>) -> bool {
    let mut both = Family::BOTH
        .into_iter()
        .filter_map(|family| a.get(family).zip(b.get(family)))
        .peekable();
    both.peek().is_some() && both.all(|(a, b)| a == b)
}

/// Whether two announcements come from one holder.
pub(crate) fn same_holder(a: &LeaseAttrs, b: &LeaseAttrs) -> bool {
    let no_data = a.data.is_empty() && b.data.is_empty();
    same_public(a, b) && (no_data || same_data(&a.data, &b.data))
}

fn claim(lease: &Lease, request: &Request) -> Claim {
    let (theirs, ours) = (&lease.attrs, &request.attrs);
    // A node that moves from one backend to another still has the lease of the first.
    let mut all_ours = std::iter::once(&ours.data).chain(&request.also);
    let no_data = theirs.data.is_empty() && all_ours.clone().any(Dual::is_empty);
    let same_data = all_ours.any(|ours| same_data(&theirs.data, ours));
    let remembered = request.previous.contains(&lease.key.0);
    let held = request.held.filter(|(key, _)| *key == lease.key);
    let until_now = request.announced.as_ref().filter(|_| held.is_some());
    if until_now.is_some_and(|announced| same_holder(announced, theirs)) {
        return Claim::Own;
    }
    let unclaimed = lease.term == Term::Reserved && theirs.data.is_empty();
    match (same_public(theirs, ours), same_data) {
        (true, true) => Claim::Own,
        (true, false) if unclaimed || (no_data && remembered) => Claim::Own,
        (true, false) | (false, true) => Claim::Suspect,
        (false, false) if held.is_some_and(|(_, created)| created == lease.created) => {
            Claim::Suspect
        }
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
        survey.return_to(request);
        survey
    }

    /// Draws a subnet of which nobody has anything, this host included. What it has of a subnet that it held before is
    /// the pods' bridge.
    pub(crate) fn draw(&self, request: &Request, random: u64) -> Result<Dual<IpNet>, Exhausted> {
        let held = |net: &IpNet| {
            let mut before = self.previous.iter().flat_map(Dual::values);
            before.any(|held| overlap(held, net))
        };
        let hosts = request.avoid.iter();
        let hosts: Vec<IpNet> = hosts.filter(|net| !held(net)).copied().collect();
        let own = hosts.iter().map(|net| SubnetKey(Dual::of_nets([*net])));
        let taken: Vec<SubnetKey> = self.taken.iter().copied().chain(own).collect();
        subnet::choose(&request.pools, &taken, &self.previous, random).map_err(|error| {
            let family = Family::of_net(&error.network);
            let is_of = |net: &IpNet| Family::of_net(net) == family;
            let hosts: Vec<IpNet> = hosts.into_iter().filter(is_of).collect();
            Exhausted {
                leases: error.leases - hosts.len(),
                hosts,
                ..error
            }
        })
    }

    /// A free subnet on which pods of this node sit is worth more than a lease without them.
    fn return_to(&mut self, request: &Request) {
        let home = SubnetKey(request.inhabited);
        let held = self.reuse.iter().any(|(key, _)| *key == home);
        let taken = self.taken.iter().any(|key| keys_overlap(key, &home));
        if !home.0.is_empty() && !held && !taken && fits(&home, request) {
            self.reuse.clear();
            self.previous.insert(0, home.0);
        }
    }
}

/// What a node takes, decided while nobody else can write.
#[derive(Debug)]
pub(crate) enum Choice {
    /// A lease that is there, as it stands.
    Reuse(SubnetKey),
    /// A new lease.
    New(SubnetKey),
    /// First the holder of this one must be asked.
    Ask(SubnetKey),
}

/// Chooses for a store that lets one node write at a time. `lives` holds what is known of the holders of suspect leases.
pub(crate) fn choose(
    survey: &Survey,
    lives: &BTreeMap<SubnetKey, bool>,
    request: &Request,
    random: u64,
) -> Result<Choice, Exhausted> {
    for (key, claim) in &survey.reuse {
        match (claim, lives.get(key)) {
            (Claim::Own, _) | (_, Some(false)) => return Ok(Choice::Reuse(*key)),
            (_, None) => return Ok(Choice::Ask(*key)),
            (_, Some(true)) => {}
        }
    }
    let chosen = survey.draw(request, random)?;
    Ok(Choice::New(SubnetKey(chosen)))
}

/// In this order: the subnet on which pods sit, and what this node held last, so that no restart takes a subnet from
/// under its pods; reservations, for somebody wished it so; what is certainly own; what this node remembers best.
fn rank(lease: &Lease, claim: Claim, request: &Request) -> (bool, bool, bool, Claim, usize, u64) {
    let own = claim == Claim::Own;
    let inhabited = own && lease.key.0 == request.inhabited;
    let held = own && request.held.is_some_and(|(key, _)| key == lease.key);
    let memory = request
        .previous
        .iter()
        .position(|nets| *nets == lease.key.0);
    let leased = lease.term == Term::Leased;
    let memory = memory.unwrap_or(usize::MAX);
    (!inhabited, !held, leased, claim, memory, lease.created)
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
pub(crate) fn is_overruled(lease: &Lease, leases: &[&Lease]) -> bool {
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
mod tests;
