//! Sorts the objects of a dump: which are ours, and to which of them routes refer.

use std::collections::{HashMap, HashSet};

use tweed_model::LinkName;
use tweed_netlink::{NextHopInfo, RouteInfo};
use tweed_state::{KernelState, NextHopObject, ObjectRef, ROUTE_PROTOCOL};

use super::numbers::{Key, Numbers, part_of};

/// The objects of one dump, while routes are read.
pub(crate) struct Seen {
    /// All objects, sorted by number.
    all: Vec<NextHopInfo>,
    ours: Vec<(NextHopObject, Key, u32)>,
    numbers: Numbers,
    /// Numbers to which routes that aren't ours refer.
    foreign: HashSet<u32>,
}

impl Seen {
    /// An object with our protocol number is ours if it is over our own interface, or has a number of this instance.
    /// `device` gives the name of an interface, and whether it is ours; none if it is another agent's.
    pub(crate) fn new<E>(
        mut all: Vec<NextHopInfo>,
        instance: &str,
        mut device: impl FnMut(u32) -> Result<Option<(LinkName, bool)>, E>,
    ) -> Result<Self, E> {
        // In the kernel's order.
        all.sort_by_key(|info| info.id);
        let part = part_of(instance);
        let mut seen = Self {
            all: Vec::new(),
            ours: Vec::with_capacity(all.len()),
            numbers: Numbers::with_room(all.len()),
            foreign: HashSet::new(),
        };
        let mut copies: HashMap<Key, u32> = HashMap::new();
        for info in all.iter().filter(|info| info.protocol == ROUTE_PROTOCOL) {
            let Some(first) = Key::of_info(info) else {
                continue;
            };
            let Some((dev, own)) = device(first.oif)? else {
                continue;
            };
            if !own && !part.contains(&info.id) {
                continue;
            }
            let mut key = first;
            if seen.numbers.get(&first).is_some() {
                let copies = copies.entry(first).or_default();
                *copies += 1;
                key.copy = *copies;
            }
            let object = NextHopObject {
                dev,
                gateway: key.gateway,
                onlink: key.onlink,
                copy: key.copy,
            };
            seen.numbers.note(key, info.id);
            seen.ours.push((object, key, info.id));
        }
        seen.all = all;
        Ok(seen)
    }

    /// Adds gateway and interface of its object to a route that lacks them (`net.ipv4.nexthop_compat_mode=0`).
    pub(crate) fn complete(&self, route: &mut RouteInfo) {
        let Some(id) = route.nexthop.filter(|_| route.oif.is_none()) else {
            return;
        };
        if let Ok(place) = self.all.binary_search_by_key(&id, |info| info.id) {
            let object = &self.all[place];
            route.oif = object.oif;
            route.gateway = object.gateway;
            route.onlink = object.onlink;
        }
    }

    /// The object that a route refers to.
    pub(crate) fn reference(&self, route: &RouteInfo) -> ObjectRef {
        self.numbers.reference(route)
    }

    /// Notes the object of a route that isn't ours: it may stay.
    pub(crate) fn foreign(&mut self, route: &RouteInfo) {
        self.foreign.extend(route.nexthop);
    }

    /// Puts our objects into the state, which has the routes. Objects that only others' routes refer to are theirs. Returns
    /// the numbers.
    pub(crate) fn into_state(self, state: &mut KernelState) -> Numbers {
        let Self {
            ours,
            mut numbers,
            foreign,
            ..
        } = self;
        let mut objects = Vec::with_capacity(ours.len());
        for (object, key, id) in ours {
            if foreign.contains(&id)
                && !state
                    .routes
                    .values()
                    .any(|route| route.next_hop.as_object().as_ref() == Some(&object))
            {
                numbers.forget(&key);
            } else {
                objects.push(object);
            }
        }
        state.nexthops = objects.into_iter().collect();
        numbers
    }
}
