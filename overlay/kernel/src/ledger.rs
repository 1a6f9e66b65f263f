//! Fingerprints of our objects in the kernel, by which the monitor tells news from echoes.
//!
//! Most changes that we make come back as notifications, and many kinds don't say who made them (forwarding entries,
//! IPv6 addresses, link attributes: observed on Linux 6.18, `nlmsg_pid` is 0). So the thread that owns the kernel
//! notes every object before it puts or deletes it, and everything it observes; the monitor drops a notification that
//! says what is noted. Nothing is decided by this memory but whether to look again: what is done about it comes from a
//! fresh dump. (Beside the fingerprints it holds the numbers of nexthop objects, by which routes refer to them.)

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tweed_model::{Mac, SharedMap};
use tweed_state::{KernelState, Link, NextHop, Op, Route, RouteKey, Scope};

use super::nexthops::numbers::Numbers;

/// Shared between the thread that owns the kernel and the monitor.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Books>);

/// Everything noted.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// What concerns us, as of the last observation.
    pub(crate) scope: Scope,
    /// Our interfaces by index.
    pub(crate) links: BTreeMap<u32, String>,
    /// The uplink's index and what it was like.
    pub(crate) uplink: Option<(u32, u64)>,
    /// Bridges and their ports.
    pub(crate) places: super::places::Places,
    /// Addresses that were seen to be added to the uplink.
    pub(crate) uplink_addrs: BTreeSet<IpNet>,
    /// Whether the uplink has no carrier. The kernel removes the nexthop objects over one that loses it, and the routes by
    /// them, and says nothing of either (Linux 6.18).
    pub(crate) uplink_idle: bool,
    /// The numbers of our nexthop objects.
    pub(crate) nexthops: Numbers,
    facts: SharedMap<u64, Fact>,
    /// Indexes of interfaces that we have deleted, or are about to: their last notifications are dropped.
    pub(crate) removed_links: HashSet<u32>,
    /// Fingerprints of devices as creation leaves them, which is not yet as they are wanted.
    created: HashSet<u64>,
    /// Interfaces of which a feature was just switched: the kernel is about to tell of it, without saying which or how.
    switched: HashSet<String>,
}

/// Halves of fingerprints: there is one for each entry of each peer, and two values that are taken for one cost no more
/// than the time until the next look.
#[derive(Clone, Copy, Debug)]
struct Fact {
    value: u32,
    /// Of the name of the interface that it goes with.
    link: u32,
}

/// What an object is found by.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Key<'a> {
    /// An interface.
    Link(&'a str),
    /// An address of an interface.
    Addr(&'a str, IpNet),
    /// A neighbour entry.
    Neigh(&'a str, IpAddr),
    /// A forwarding entry.
    Fdb(&'a str, Mac),
    /// A route of the main table.
    Route(RouteKey),
    /// The feature of an interface that is looked after.
    TxChecksum(&'a str),
}

impl Ledger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Books> {
        // A panic elsewhere leaves the books readable: at worst there is one look too many.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Takes over what concerns us now. Returns whether the uplink is the same as before: then what the monitor knows of
    /// it must stay, or a change that it has not yet reported would be lost.
    pub(crate) fn enter(&mut self, scope: &Scope) -> bool {
        let same_uplink = self.scope.uplink == scope.uplink;
        if self.scope != *scope {
            self.scope = scope.clone();
        }
        same_uplink
    }

    /// Everything afresh, from an observation.
    pub(crate) fn observed(&mut self, state: &KernelState) {
        self.created.clear();
        self.switched.clear();
        let links = state.links.iter();
        let links = links.map(|(name, link)| fact(Key::Link(name), name, link));
        let addrs = state.addrs.iter();
        let addrs = addrs.map(|(name, net)| fact(Key::Addr(name, *net), name, &()));
        let neighs = state.neighs.iter();
        let neighs = neighs.map(|((name, addr), mac)| fact(Key::Neigh(name, *addr), name, mac));
        let fdb = state.fdb.iter();
        let fdb = fdb.map(|((name, mac), dst)| fact(Key::Fdb(name, *mac), name, dst));
        let routes = state.routes.iter();
        let routes = routes.map(|(key, route)| fact(Key::Route(*key), link_of(route), route));
        let switches = state.tx_checksum.iter();
        let switches = switches.map(|(name, on)| fact(Key::TxChecksum(name), name, on));
        let entries = links.chain(addrs).chain(neighs).chain(fdb);
        self.facts = entries.chain(routes).chain(switches).collect();
    }

    /// Notes what an operation is about to bring about.
    pub(crate) fn expect(&mut self, op: &Op) {
        match op {
            Op::Attached(_) => {}
            Op::AddLink(name, link) => {
                self.hold(Key::Link(name), name, link);
                // Creation takes neither alias nor state, and is reported by itself.
                let created = Link {
                    alias: String::new(),
                    up: false,
                    ..link.clone()
                };
                self.created.insert(fingerprint(&(name, created)));
            }
            Op::SetLink(name, link) => self.hold(Key::Link(name), name, link),
            Op::DelLink(name) => {
                let link = half(fingerprint(name.as_str()));
                self.facts.retain(|_, fact| fact.link != link);
                let indexes = self.links.extract_if(.., |_, other| other == name);
                self.removed_links.extend(indexes.map(|(index, _)| index));
            }
            Op::AddAddr(name, net) => self.hold(Key::Addr(name, *net), name, &()),
            Op::PutNeigh((name, addr), mac) => self.hold(Key::Neigh(name, *addr), name, mac),
            Op::PutFdb((name, mac), dst) => self.hold(Key::Fdb(name, *mac), name, dst),
            Op::PutRoute(key, route) => self.hold_route(key, route),
            Op::SetTxChecksum(name, on) => {
                self.hold(Key::TxChecksum(name), name, on);
                self.switched.insert(name.clone());
            }
            Op::DelAddr(..) | Op::DelNeigh(_) | Op::DelFdb(..) | Op::DelRoute(..) => {
                self.lose(op);
            }
            Op::PutNextHop(_)
            | Op::DelNextHop(_)
            | Op::SetSysctl(..)
            | Op::Firewall(_)
            | Op::ForeignForward(..)
            | Op::Sweep(_) => {}
        }
    }

    /// Strikes the object of an operation: it failed, or it was a delete.
    pub(crate) fn lose(&mut self, op: &Op) {
        if matches!(op, Op::DelLink(_)) {
            // It lives on. Unmuting others that are gone costs one look too many at most.
            self.removed_links.clear();
        }
        let key = match op {
            Op::Attached(_) => return,
            Op::AddLink(name, _) | Op::SetLink(name, _) | Op::DelLink(name) => Key::Link(name),
            Op::AddAddr(name, net) | Op::DelAddr(name, net) => Key::Addr(name, *net),
            Op::PutNeigh((name, addr), _) | Op::DelNeigh((name, addr)) => Key::Neigh(name, *addr),
            Op::PutFdb((name, mac), _) | Op::DelFdb((name, mac), _) => Key::Fdb(name, *mac),
            Op::PutRoute(key, _) | Op::DelRoute(key, _) => Key::Route(*key),
            Op::SetTxChecksum(name, _) => {
                self.switched.remove(name);
                Key::TxChecksum(name)
            }
            Op::PutNextHop(_)
            | Op::DelNextHop(_)
            | Op::SetSysctl(..)
            | Op::Firewall(_)
            | Op::ForeignForward(..)
            | Op::Sweep(_) => return,
        };
        self.facts.remove(&fingerprint(&key));
    }

    /// Whether the object is noted at all.
    pub(crate) fn holds(&self, key: Key<'_>) -> bool {
        self.facts.contains_key(&fingerprint(&key))
    }

    /// Whether the object is noted with exactly this value.
    pub(crate) fn agrees(&self, key: Key<'_>, value: &impl Hash) -> bool {
        self.facts
            .get(&fingerprint(&key))
            .is_some_and(|fact| fact.value == half(fingerprint(value)))
    }

    /// Whether a link is as it is noted, or on the way to it.
    pub(crate) fn agrees_on_link(&self, name: &String, link: &Link) -> bool {
        self.agrees(Key::Link(name), link) || self.created.contains(&fingerprint(&(name, link)))
    }

    /// Whether a change of an interface's features, of which nothing more is said, may be news.
    pub(crate) fn features_are_news(&mut self, name: &str) -> bool {
        self.holds(Key::TxChecksum(name)) && !self.switched.remove(name)
    }

    fn hold(&mut self, key: Key<'_>, link: &str, value: &impl Hash) {
        let (key, fact) = fact(key, link, value);
        self.facts.insert(key, fact);
    }

    fn hold_route(&mut self, key: &RouteKey, route: &Route) {
        self.hold(Key::Route(*key), link_of(route), route);
    }
}

fn fact(key: Key<'_>, link: &str, value: &impl Hash) -> (u64, Fact) {
    let fact = Fact {
        value: half(fingerprint(value)),
        link: half(fingerprint(link)),
    };
    (fingerprint(&key), fact)
}

fn link_of(route: &Route) -> &str {
    match &route.next_hop {
        NextHop::Via { dev, .. } => dev,
        NextHop::Blackhole => "",
    }
}

fn half(fingerprint: u64) -> u32 {
    (fingerprint & u64::from(u32::MAX)) as u32
}

/// What matters of the uplink, for a comparison.
pub(crate) fn uplink_mark(mtu: u32, mac: Option<Mac>, up: bool) -> u64 {
    fingerprint(&(mtu, mac, up))
}

fn fingerprint<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> RouteKey {
        RouteKey::of("10.244.2.0/24".parse().unwrap())
    }

    fn route(dev: &str) -> Route {
        Route {
            next_hop: NextHop::via(None, dev.into(), true),
            protocol: 84,
        }
    }

    #[test]
    fn what_was_put_is_an_echo_until_it_is_deleted() {
        let mut books = Books::default();
        books.expect(&Op::PutRoute(key(), route("flannel.1")));
        assert!(books.agrees(Key::Route(key()), &route("flannel.1")));
        assert!(!books.agrees(Key::Route(key()), &route("eth0")));
        books.expect(&Op::DelRoute(key(), route("flannel.1")));
        assert!(!books.holds(Key::Route(key())));
    }

    #[test]
    fn a_link_that_is_deleted_takes_what_goes_with_it() {
        let mut books = Books::default();
        let mac = Mac([2; 6]);
        let addr = "10.244.2.0".parse().unwrap();
        books.expect(&Op::PutNeigh(("flannel.1".into(), addr), mac));
        books.expect(&Op::PutNeigh(("flannel.2".into(), addr), mac));
        books.expect(&Op::PutRoute(key(), route("flannel.1")));
        books.expect(&Op::DelLink("flannel.1".into()));
        assert!(!books.holds(Key::Neigh("flannel.1", addr)));
        assert!(!books.holds(Key::Route(key())));
        assert!(books.holds(Key::Neigh("flannel.2", addr)));
    }

    #[test]
    fn an_observation_replaces_everything() {
        let mut books = Books::default();
        books.expect(&Op::PutRoute(key(), route("flannel.1")));
        books.observed(&KernelState {
            fdb: SharedMap::from([(("flannel.1".into(), Mac([2; 6])), [10, 0, 0, 1].into())]),
            ..KernelState::default()
        });
        assert!(!books.holds(Key::Route(key())));
        let dst: IpAddr = [10, 0, 0, 1].into();
        assert!(books.agrees(Key::Fdb("flannel.1", Mac([2; 6])), &dst));
    }
}
