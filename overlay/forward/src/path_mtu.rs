//! What has been learned of the paths to the peers: where one is narrower than the uplink, the table says so until what
//! was learned is old. A value; the time is an argument.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::table::Table;

/// How long a path counts as narrow: as long as Linux remembers it (`net.ipv4.route.mtu_expires`; RFC 8201 §4 wants
/// five minutes at least). After that a larger packet may be tried again.
pub(super) const LIFETIME: Duration = Duration::from_mins(10);
/// Paths that are remembered. Forged ICMP errors of the underlay must not make the list grow.
const MOST: usize = 4096;
/// The smallest MTU that is applied: what IPv6 wants of every link (RFC 8200 §5), and so what each that carries both
/// families has. Nothing in an ICMP error proves that a router sent it: what a forged one can cost ends here, where a peer
/// answers no [question](super::claim). Over an IPv4 path that is truly narrower, the kernel fragments the datagrams.
const LEAST: u32 = 1280;

/// Bytes of the headers that carry a packet: IPv4 or IPv6, and UDP.
const OVERHEAD_V4: u32 = 20 + 8;
const OVERHEAD_V6: u32 = 40 + 8;

/// A path that is narrower than the uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Narrow {
    addr: IpAddr,
    /// The largest packet of a pod in bytes.
    mtu: u16,
    until: Duration,
}

/// Whether a path is said to be narrower than any MTU that is applied. A kernel that applies it refuses messages of several
/// datagrams to it, with reason, and fragments single ones.
pub fn is_too_narrow(path: u32) -> bool {
    path < LEAST
}

/// Whether the table says that larger datagrams than of `path` bytes get to an address.
pub fn is_news(table: &Table, addr: IpAddr, path: u32) -> bool {
    table.is_wider(addr, largest_packet(addr, path))
}

/// The largest packet of a pod that goes into a datagram of `path` bytes.
fn largest_packet(addr: IpAddr, path: u32) -> u16 {
    let overhead = match addr {
        IpAddr::V4(_) => OVERHEAD_V4,
        IpAddr::V6(_) => OVERHEAD_V6,
    };
    u16::try_from(path.saturating_sub(overhead)).unwrap_or(u16::MAX)
}

/// The paths that are narrower than the uplink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMtus {
    narrow: Vec<Narrow>,
}

impl PathMtus {
    /// Learns that the path to an address takes datagrams of `path` bytes, IP header included. Says whether that was news
    /// of a peer; only then is the table another, which takes a copy where others use it too.
    pub fn learn(
        &mut self,
        table: &mut Arc<Table>,
        addr: IpAddr,
        path: u32,
        now: Duration,
    ) -> bool {
        let mtu = largest_packet(addr, path.max(LEAST));
        if !table.is_wider(addr, mtu) {
            return false;
        }
        Arc::make_mut(table).narrow(addr, mtu);
        self.narrow.retain(|narrow| narrow.addr != addr);
        if self.narrow.len() == MOST {
            self.narrow.remove(0);
        }
        let until = now + LIFETIME;
        self.narrow.push(Narrow { addr, mtu, until });
        true
    }

    /// Forgets what is old. Says whether anything was: then the table must be taken anew, and told the rest.
    pub fn forget(&mut self, now: Duration) -> bool {
        let before = self.narrow.len();
        self.narrow.retain(|narrow| narrow.until > now);
        self.narrow.len() < before
    }

    /// Tells a table that knows nothing of it yet.
    pub fn tell(&self, table: &mut Table) {
        for narrow in &self.narrow {
            table.narrow(narrow.addr, narrow.mtu);
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.narrow.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::table::Peer;
    use tweed_model::Dual;

    const SECOND: Duration = Duration::from_secs(1);

    fn table() -> Table {
        let peer = |endpoint: &str, subnet: &str| {
            let endpoint: SocketAddr = endpoint.parse().unwrap();
            Peer {
                endpoint,
                addresses: Dual::of_addrs([endpoint.ip()]),
                subnets: Dual::of_nets([subnet.parse().unwrap()]),
                mtu: 1452,
            }
        };
        let peers = vec![
            peer("192.0.2.1:8285", "10.42.1.0/24"),
            peer("192.0.2.2:8285", "10.42.2.0/24"),
            peer("[2001:db8::2]:8285", "fd00::/64"),
        ];
        Table::new(Dual::default(), peers)
    }

    fn mtus(table: &Table) -> Vec<u16> {
        table.peers().iter().map(|peer| peer.mtu).collect()
    }

    #[test]
    fn a_narrow_path_is_told_until_it_is_old() {
        let (mut paths, mut table) = (PathMtus::default(), Arc::new(table()));
        let addr: IpAddr = "192.0.2.2".parse().unwrap();
        assert!(paths.learn(&mut table, addr, 1300, SECOND));
        assert_eq!(mtus(&table), [1452, 1272, 1452]);
        let read_elsewhere = Arc::clone(&table);
        for path in [1300, 1400] {
            let news = paths.learn(&mut table, addr, path, 2 * SECOND);
            assert!(!news, "{path} is no news");
        }
        assert!(Arc::ptr_eq(&table, &read_elsewhere), "nothing was copied");
        let mut anew = self::table();
        assert!(!paths.forget(5 * SECOND));
        paths.tell(&mut anew);
        assert_eq!(mtus(&anew), [1452, 1272, 1452]);
        let late = SECOND + LIFETIME;
        assert!(!paths.forget(late - SECOND) && paths.forget(late));
        let mut anew = self::table();
        paths.tell(&mut anew);
        assert_eq!(mtus(&anew), mtus(&self::table()));
        assert!(paths.is_empty());
    }

    #[test]
    fn a_forged_error_cannot_narrow_a_path_below_what_every_link_of_ipv6_carries() {
        let (mut paths, mut table) = (PathMtus::default(), Arc::new(table()));
        for path in [1, 0, 60, u32::MAX] {
            for addr in ["192.0.2.2", "2001:db8::2", "203.0.113.9"] {
                paths.learn(&mut table, addr.parse().unwrap(), path, SECOND);
            }
        }
        assert_eq!(mtus(&table), [1452, 1280 - 28, 1280 - 48]);
        assert_eq!(paths.narrow.len(), 2, "strangers are not remembered");
    }
}
