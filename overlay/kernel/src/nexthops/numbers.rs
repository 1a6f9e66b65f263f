//! The numbers of nexthop objects. An object has no name, only a number, which no authority assigns: ours lie in a range,
//! of which each instance has a part, and each gateway a preferred place in that. A taken number is left alone.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use foldhash::fast::RandomState;
use tweed_netlink::{NextHopInfo, RouteInfo};
use tweed_state::{NextHopObject, ObjectRef, ROUTE_PROTOCOL};

/// All numbers of ours: 0x50000000 to 0x5fffffff, 1,024 parts of 262,144.
const FIRST: u32 = 0x5000_0000;
const PARTS: u32 = 1 << 10;
const PART: u32 = 1 << 18;

/// Gateway and interface by which an object is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Index of the interface.
    pub(super) oif: u32,
    pub(super) gateway: Ipv4Addr,
    pub(super) onlink: bool,
    pub(super) copy: u32,
}

impl Key {
    pub(crate) fn of(object: &NextHopObject, oif: u32) -> Self {
        Self {
            oif,
            gateway: object.gateway,
            onlink: object.onlink,
            copy: object.copy,
        }
    }

    pub(super) fn of_info(info: &NextHopInfo) -> Option<Self> {
        Self::read(info.oif, info.gateway, info.onlink)
    }

    fn read(oif: Option<u32>, gateway: Option<IpAddr>, onlink: bool) -> Option<Self> {
        match (oif, gateway) {
            (Some(oif), Some(IpAddr::V4(gateway))) => Some(Self {
                oif,
                gateway,
                onlink,
                copy: 0,
            }),
            _ => None,
        }
    }
}

/// Numbers of our objects. There is one for each peer, looked up for each route.
#[derive(Debug, Default)]
pub(crate) struct Numbers(HashMap<Key, u32, RandomState>);

impl Numbers {
    pub(super) fn with_room(objects: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(
            objects,
            RandomState::default(),
        ))
    }

    pub(crate) fn get(&self, key: &Key) -> Option<u32> {
        self.0.get(key).copied()
    }

    pub(super) fn note(&mut self, key: Key, id: u32) {
        self.0.insert(key, id);
    }

    pub(crate) fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// The object that a route refers to.
    pub(crate) fn reference(&self, route: &RouteInfo) -> ObjectRef {
        let key = Key::read(route.oif, route.gateway, route.onlink);
        match route.nexthop {
            None => ObjectRef::Plain,
            Some(id) if key.and_then(|key| self.get(&key)) == Some(id) => ObjectRef::Ours,
            Some(_) => ObjectRef::Other,
        }
    }

    /// Whether a notification about an object is news to an instance; `is_own` tells its interfaces.
    pub(crate) fn is_news(
        &self,
        instance: &str,
        is_own: impl Fn(u32) -> bool,
        info: &NextHopInfo,
        new: bool,
    ) -> bool {
        let known = Key::of_info(info).and_then(|key| self.get(&key)) == Some(info.id);
        if !new {
            return known;
        }
        let on_own = info.protocol == ROUTE_PROTOCOL && info.oif.is_some_and(is_own);
        !known && (on_own || part_of(instance).contains(&info.id))
    }
}

/// The numbers of an instance. Should two have the same part, neither takes a number that the other has, nor removes an
/// object by which a route of the other leads.
pub(super) fn part_of(instance: &str) -> Range<u32> {
    let first = FIRST + hash([instance.as_bytes()]) % PARTS * PART;
    first..first + PART
}

/// All numbers of an instance, in the order in which they are tried for an object. When an interface is made anew, the
/// same gateways get the same numbers again. Whatever gateways others choose, few try the same numbers: each goes on in
/// steps of its own, which are odd, so that they lead through all.
pub(super) fn candidates(instance: &str, object: &NextHopObject) -> impl Iterator<Item = u32> {
    let first = part_of(instance).start;
    let (dev, gateway) = (object.dev.as_bytes(), object.gateway.octets());
    let (place, step) = (hash([dev, &gateway]), hash([&gateway, dev]) | 1);
    (0..PART).map(move |tries| first + place.wrapping_add(tries.wrapping_mul(step)) % PART)
}

/// FNV-1a, folded. It must be the same in all versions.
fn hash<const N: usize>(parts: [&[u8]; N]) -> u32 {
    let bytes = parts.into_iter().flatten();
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn object(number: u32) -> NextHopObject {
        NextHopObject {
            dev: "flannel.1".into(),
            gateway: Ipv4Addr::from(0x0a64_0000 + (number << 8)),
            onlink: true,
            copy: 0,
        }
    }

    #[test]
    fn numbers_are_the_same_in_all_versions_and_within_the_range() {
        let first = |instance| candidates(instance, &object(1)).next();
        assert_eq!(first("tweed"), Some(1_344_162_829));
        assert_ne!(first("tweed"), first("tweed-0a1b2c3d"));
        let part = part_of("tweed");
        assert!(part.start >= FIRST && part.end <= FIRST + PARTS * PART);
        let all: HashSet<u32> = candidates("tweed", &object(1)).collect();
        assert_eq!(all.len(), PART as usize);
        assert!(all.iter().all(|id| part.contains(id)));
    }

    #[test]
    fn gateways_that_are_chosen_to_prefer_the_same_numbers_find_others_soon() {
        let start = part_of("tweed").start;
        let all = (0..u32::MAX).map(|bits| NextHopObject {
            dev: "eth0".into(),
            gateway: Ipv4Addr::from(bits),
            onlink: false,
            copy: 0,
        });
        let chosen = all.filter(|object| {
            let preferred = candidates("tweed", object).next();
            preferred.is_some_and(|number| number - start < 256)
        });
        let (mut taken, mut tries) = (HashSet::new(), 0);
        for object in chosen.take(2_000) {
            let mut candidates = candidates("tweed", &object).inspect(|_| tries += 1);
            assert!(candidates.any(|number| taken.insert(number)));
        }
        assert!(tries < 3 * 2_000, "{tries} tries");
    }

    #[test]
    fn few_of_twenty_thousand_gateways_prefer_the_same_number() {
        let firsts = (0..20_000).filter_map(|number| candidates("tweed", &object(number)).next());
        let places: HashSet<u32> = firsts.collect();
        assert!(places.len() > 19_000, "{} places", places.len());
    }
}
