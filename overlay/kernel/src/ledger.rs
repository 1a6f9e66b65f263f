//! What we know of our objects in the kernel, by which the monitor tells news from echoes.
//!
//! Most changes that we make come back as notifications, and many kinds don't say who made them (forwarding entries,
//! IPv6 addresses, link attributes: observed on Linux 6.18, `nlmsg_pid` is 0). So the thread that owns the kernel
//! notes every object before it puts or deletes it, and everything it observes; the monitor drops a notification that
//! says what is noted. Nothing is decided by this memory but whether to look again: what is done about it comes from a
//! fresh dump. Once the kernel is as wanted, the notes share the wanted state's memory.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tweed_model::{LinkName, Mac};
use tweed_netlink::{LinkInfo, OperState};
use tweed_state::{KernelState, Link, Op, Scope};

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
    /// The uplink as it was last.
    pub(crate) uplink: Option<Uplink>,
    /// Bridges and their ports.
    pub(crate) places: super::places::Places,
    /// Addresses that were seen to be added to the uplink.
    pub(crate) uplink_addrs: BTreeSet<IpNet>,
    /// Whether the uplink has no carrier. The kernel removes the nexthop objects over one that loses it, and the routes by
    /// them, and says nothing of either (Linux 6.18).
    pub(crate) uplink_idle: bool,
    /// The numbers of our nexthop objects.
    pub(crate) nexthops: Numbers,
    /// Our objects; links, and what lies on them or leads over them.
    pub(crate) noted: KernelState,
    /// Indexes of interfaces that we have deleted, or are about to: their last notifications are dropped.
    pub(crate) removed_links: HashSet<u32>,
    /// Devices as creation leaves them, which is not yet as they are wanted.
    created: BTreeMap<String, Link>,
    /// Interfaces of which a feature was just switched: the kernel is about to tell of it, without saying which or how.
    switched: HashSet<String>,
}

/// What matters of the uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uplink {
    pub(crate) index: u32,
    mtu: u32,
    mac: Option<Mac>,
    up: bool,
}

impl Uplink {
    pub(crate) fn of(link: &LinkInfo) -> Self {
        Self {
            index: link.index,
            mtu: link.mtu,
            mac: link.mac,
            up: link.up,
        }
    }

    /// Whether an interface has no carrier.
    pub(crate) fn is_idle(link: &LinkInfo) -> bool {
        link.operstate == OperState::Down
    }
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
        self.noted = KernelState {
            links: state.links.clone(),
            addrs: state.addrs.clone(),
            neighs: state.neighs.clone(),
            fdb: state.fdb.clone(),
            routes: state.routes.clone(),
            tx_checksum: state.tx_checksum.clone(),
            ..KernelState::default()
        };
    }

    /// The kernel was made what is wanted: the notes say the same as before, in shared memory.
    pub(crate) fn settled(&mut self, state: &KernelState) {
        self.noted.neighs.clone_from(&state.neighs);
        self.noted.fdb.clone_from(&state.fdb);
        self.noted.routes.clone_from(&state.routes);
    }

    /// Notes what an operation is about to bring about.
    pub(crate) fn expect(&mut self, op: &Op) {
        let noted = &mut self.noted;
        match op {
            Op::AddLink(name, link) => {
                noted.links.insert(name.clone(), link.clone());
                // Creation takes neither alias nor state, and is reported by itself.
                let created = Link {
                    alias: String::new(),
                    up: false,
                    ..link.clone()
                };
                self.created.insert(name.clone(), created);
            }
            Op::SetLink(name, link) => drop(noted.links.insert(name.clone(), link.clone())),
            Op::DelLink(name) => {
                noted.links.remove(name);
                noted.forget_dependants(name);
                let indexes = self.links.extract_if(.., |_, other| other == name);
                self.removed_links.extend(indexes.map(|(index, _)| index));
            }
            Op::AddAddr(name, net) => drop(noted.addrs.insert((name.clone(), *net))),
            Op::PutNeigh(key, mac) => drop(noted.neighs.insert(key.clone(), *mac)),
            Op::PutFdb(key, dst) => drop(noted.fdb.insert(key.clone(), *dst)),
            Op::PutRoute(key, route) => drop(noted.routes.insert(*key, route.clone())),
            Op::SetTxChecksum(name, on) => {
                noted.tx_checksum.insert(name.clone(), *on);
                self.switched.insert(name.clone());
            }
            Op::DelAddr(..) | Op::DelNeigh(_) | Op::DelFdb(..) | Op::DelRoute(..) => {
                self.lose(op);
            }
            Op::Attached(_)
            | Op::PutNextHop(_)
            | Op::DelNextHop(_)
            | Op::SetSysctl(..)
            | Op::Firewall(_)
            | Op::ForeignForward(..)
            | Op::Sweep(_) => {}
        }
    }

    /// Strikes the object of an operation: it failed, or it was a delete.
    pub(crate) fn lose(&mut self, op: &Op) {
        let noted = &mut self.noted;
        match op {
            Op::AddLink(name, _) | Op::SetLink(name, _) => drop(noted.links.remove(name)),
            Op::DelLink(name) => {
                noted.links.remove(name);
                // It lives on. Unmuting others that are gone costs one look too many at most.
                self.removed_links.clear();
            }
            Op::AddAddr(name, net) | Op::DelAddr(name, net) => {
                noted.addrs.remove(&(name.clone(), *net));
            }
            Op::PutNeigh(key, _) | Op::DelNeigh(key) => drop(noted.neighs.remove(key)),
            Op::PutFdb(key, _) | Op::DelFdb(key, _) => drop(noted.fdb.remove(key)),
            Op::PutRoute(key, _) | Op::DelRoute(key, _) => drop(noted.routes.remove(key)),
            Op::SetTxChecksum(name, _) => {
                noted.tx_checksum.remove(name);
                self.switched.remove(name);
            }
            Op::Attached(_)
            | Op::PutNextHop(_)
            | Op::DelNextHop(_)
            | Op::SetSysctl(..)
            | Op::Firewall(_)
            | Op::ForeignForward(..)
            | Op::Sweep(_) => {}
        }
    }

    /// The Ethernet address that is noted for a neighbour.
    pub(crate) fn neigh(&self, link: &str, addr: IpAddr) -> Option<Mac> {
        self.noted
            .neighs
            .get(&(LinkName::from(link), addr))
            .copied()
    }

    /// Where a forwarding entry leads that is noted.
    pub(crate) fn fdb(&self, link: &str, mac: Mac) -> Option<IpAddr> {
        self.noted.fdb.get(&(LinkName::from(link), mac)).copied()
    }

    /// Whether an address is noted.
    pub(crate) fn has_addr(&self, link: &str, net: IpNet) -> bool {
        self.noted.addrs.contains(&(link.to_owned(), net))
    }

    /// Whether a link is as it is noted, or on the way to it.
    pub(crate) fn agrees_on_link(&self, name: &str, link: &Link) -> bool {
        [self.noted.links.get(name), self.created.get(name)].contains(&Some(link))
    }

    /// Whether a change of an interface's features, of which nothing more is said, may be news.
    pub(crate) fn features_are_news(&mut self, name: &str) -> bool {
        self.noted.tx_checksum.contains_key(name) && !self.switched.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tweed_model::SharedMap;
    use tweed_state::{NextHop, Route, RouteKey};

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
        assert_eq!(books.noted.routes.get(&key()), Some(&route("flannel.1")));
        books.expect(&Op::DelRoute(key(), route("flannel.1")));
        assert_eq!(books.noted.routes.get(&key()), None);
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
        assert_eq!(books.neigh("flannel.1", addr), None);
        assert!(books.noted.routes.is_empty());
        assert_eq!(books.neigh("flannel.2", addr), Some(mac));
    }

    #[test]
    fn an_observation_replaces_everything() {
        let mut books = Books::default();
        let (mac, dst) = (Mac([2; 6]), IpAddr::from([10, 0, 0, 1]));
        books.expect(&Op::PutRoute(key(), route("flannel.1")));
        books.observed(&KernelState {
            fdb: SharedMap::from([(("flannel.1".into(), mac), dst)]),
            ..KernelState::default()
        });
        assert!(books.noted.routes.is_empty());
        assert_eq!(books.fdb("flannel.1", mac), Some(dst));
    }
}
