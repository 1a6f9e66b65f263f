//! Subnet arithmetic and the choice of a free subnet. No step enumerates a network, so IPv6 costs what IPv4 costs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Dual, Family, SubnetKey};

/// How many free subnets the draw is made from, as in flannel: the network stays dense, and two nodes that start at
/// the same moment seldom draw the same one.
const DRAW_FROM: usize = 100;

/// No subnet of a pool is free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no free /{subnet_len} between {min} and {max} in {network}, with {leases} leases in the store{}; \
     release unused ones, or widen the range", of_the_host(.hosts)
)]
pub struct Exhausted {
    /// The pod network.
    pub network: IpNet,
    /// Length of the subnet wanted.
    pub subnet_len: u8,
    /// First and last base address that may be leased.
    pub min: IpAddr,
    /// See `min`.
    pub max: IpAddr,
    /// Leases of this family in the store.
    pub leases: usize,
    /// What else was left out: networks and addresses of the host itself.
    pub hosts: Vec<IpNet>,
}

fn of_the_host(nets: &[IpNet]) -> String {
    if nets.is_empty() {
        return String::new();
    }
    let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
    format!(" and {} left out as this host's own", nets.join(", "))
}

/// Chooses the subnets of a new lease: the first of `previous` that fits the pools and is free as a whole; else, family
/// by family, a free half of one of them; else one of the first hundred free subnets, drawn by `random`.
///
/// Nothing chosen overlaps anything in `taken`, whatever the lengths there.
///
/// # Errors
/// [`Exhausted`] for the first family that has nothing left.
pub fn choose(
    pools: &Dual<Pool>,
    taken: &[SubnetKey],
    previous: &[Dual<IpNet>],
    random: u64,
) -> Result<Dual<IpNet>, Exhausted> {
    let occupied = pools.map(|family, _| Occupied::new(family, taken));
    let usable = |family: Family, net: &IpNet| {
        let fits = pools.get(family).is_some_and(|pool| pool.fits(net));
        fits && occupied
            .get(family)
            .is_some_and(|occupied| occupied.is_free(net))
    };
    let whole = previous.iter().find(|nets| {
        Family::BOTH
            .iter()
            .all(|family| pools.has(*family) == nets.has(*family))
            && nets.iter().all(|(family, net)| usable(family, net))
    });
    if let Some(nets) = whole {
        return Ok(*nets);
    }
    pools.try_map(|family, pool| {
        let halves = previous.iter().filter_map(|nets| nets.get(family));
        if let Some(half) = halves.copied().find(|net| usable(family, net)) {
            return Ok(half);
        }
        let free = occupied
            .get(family)
            .map(|occupied| occupied.free(pool))
            .unwrap_or_default();
        draw(&free, family, random).ok_or_else(|| Exhausted {
            network: pool.network,
            subnet_len: pool.subnet_len,
            min: pool.min,
            max: pool.max,
            leases: taken.iter().filter(|key| key.0.has(family)).count(),
            hosts: Vec::new(),
        })
    })
}

/// The two families look at different bits, so that their draws are independent.
fn draw(free: &[IpNet], family: Family, random: u64) -> Option<IpNet> {
    let random = match family {
        Family::V4 => random & 0xffff_ffff,
        Family::V6 => random >> 32,
    };
    let index = random.checked_rem(free.len() as u64)?;
    free.get(index as usize).copied()
}

/// Where the subnets of one family come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The pod network.
    pub network: IpNet,
    /// Prefix length of one node's subnet.
    pub subnet_len: u8,
    /// Base address of the first subnet that may be leased.
    pub min: IpAddr,
    /// Base address of the last one.
    pub max: IpAddr,
}

impl Pool {
    /// Whether a subnet is one that this pool leases: of its length, aligned, and within its range.
    pub fn fits(&self, net: &IpNet) -> bool {
        net.prefix_len() == self.subnet_len
            && *net == net.trunc()
            && Family::of_net(net) == Family::of_net(&self.network)
            && self.network.contains(net)
            && (self.min..=self.max).contains(&net.addr())
    }

    /// How many subnets this pool leases.
    pub fn subnets(&self) -> u128 {
        let size = size_of(Family::of_net(&self.network), self.subnet_len);
        let span = number(self.max).checked_sub(number(self.min));
        span.map_or(0, |span| (span / size).saturating_add(1))
    }
}

/// The addresses of one family that are leased already: disjoint ranges in rising order, both ends included.
struct Occupied(Vec<(u128, u128)>);

impl Occupied {
    fn new(family: Family, taken: &[SubnetKey]) -> Self {
        let mut ranges: Vec<_> = taken
            .iter()
            .filter_map(|key| key.0.get(family))
            .map(range)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    fn is_free(&self, net: &IpNet) -> bool {
        let (first, last) = range(net);
        self.end_of_overlap(first, last).is_none()
    }

    /// Where the occupied range ends that meets `first..=last`, if one does.
    fn end_of_overlap(&self, first: u128, last: u128) -> Option<u128> {
        let next = self.0.partition_point(|(_, end)| *end < first);
        self.0
            .get(next)
            .filter(|(start, _)| *start <= last)
            .map(|(_, end)| *end)
    }

    /// The first free subnets of the pool.
    fn free(&self, pool: &Pool) -> Vec<IpNet> {
        let family = Family::of_net(&pool.network);
        let size = size_of(family, pool.subnet_len);
        let mut free = Vec::new();
        let mut base = Some(number(pool.min));
        while let Some(first) = base.filter(|first| *first <= number(pool.max)) {
            let last = first | (size - 1);
            base = match self.end_of_overlap(first, last) {
                // The next aligned base behind the obstacle.
                Some(end) => (end.max(last) | (size - 1)).checked_add(1),
                None => {
                    free.extend(net_at(family, first, pool.subnet_len));
                    last.checked_add(1)
                }
            };
            if free.len() == DRAW_FROM {
                break;
            }
        }
        free
    }
}

/// Whether two prefixes share an address. Prefixes of different families share none.
pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// Whether two leases share an address in any family.
pub fn keys_overlap(a: &SubnetKey, b: &SubnetKey) -> bool {
    a.0.iter()
        .any(|(family, net)| b.0.get(family).is_some_and(|other| overlap(net, other)))
}

/// How many subnets of a length a network has.
pub fn subnet_count(network: &IpNet, subnet_len: u8) -> u128 {
    match subnet_len.checked_sub(network.prefix_len()) {
        Some(bits) => 1u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX),
        None => 0,
    }
}

/// The `n`th subnet of a length in a network, counted from 0; `None` if there are fewer.
pub fn nth_subnet(network: &IpNet, subnet_len: u8, n: u128) -> Option<IpNet> {
    let family = Family::of_net(network);
    if n >= subnet_count(network, subnet_len) || subnet_len > family.bits() {
        return None;
    }
    let base = number(network.network()) + n.checked_mul(size_of(family, subnet_len))?;
    net_at(family, base, subnet_len)
}

/// The `n`th address of a subnet, counted from its base; `None` if it has fewer.
pub(crate) fn nth_addr(net: &IpNet, n: u128) -> Option<IpAddr> {
    let (first, last) = range(net);
    let addr = first.checked_add(n).filter(|addr| *addr <= last)?;
    Some(addr_at(Family::of_net(net), addr))
}

/// The first address that a host can have: the one behind the base.
pub fn first_addr(net: &IpNet) -> Option<IpAddr> {
    nth_addr(net, 1)
}

/// An address as a number: IPv4 in the lowest 32 bits.
pub fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn range(net: &IpNet) -> (u128, u128) {
    (number(net.network()), number(net.broadcast()))
}

fn size_of(family: Family, len: u8) -> u128 {
    let host_bits = u32::from(family.bits().saturating_sub(len));
    1u128.checked_shl(host_bits).unwrap_or(u128::MAX)
}

fn addr_at(family: Family, number: u128) -> IpAddr {
    match family {
        // Callers stay within the range of an IPv4 prefix.
        Family::V4 => Ipv4Addr::from(number as u32).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

fn net_at(family: Family, base: u128, len: u8) -> Option<IpNet> {
    IpNet::new(addr_at(family, base), len).ok()
}

#[cfg(test)]
mod tests;
