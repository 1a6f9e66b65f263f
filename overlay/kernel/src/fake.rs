//! A kernel in memory that refuses and cascades as Linux does, for property tests of what stands above it. A test on
//! the real kernel gives both the same operations and compares.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use std::{io, thread};

use ipnet::IpNet;
use tweed_host::KernelError;
use tweed_nft::Change;
use tweed_state::{
    KernelState, Link, LinkKind, NextHop, NextHopObject, ObjectRef, Op, Route, RouteKey, Scope,
    Vxlan,
};

use super::Kernel;

/// The kernel. Everything in `state` counts as within any scope, but for features, which are read where they are asked for.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    /// What it holds.
    pub state: KernelState,
    /// Interfaces that are there besides, such as the uplink.
    pub others: BTreeSet<String>,
    /// Operations to refuse, counted from 0 over the life of the kernel.
    pub faults: BTreeSet<usize>,
    /// Operations asked for so far.
    pub asked: usize,
    /// How long a look at everything takes.
    pub slow: Duration,
}

impl Kernel for FakeKernel {
    fn observe(&mut self, scope: &Scope) -> Result<KernelState, KernelError> {
        thread::sleep(self.slow);
        let mut state = self.state.clone();
        let read = |name: &String, _: &mut bool| scope.tx_checksum.contains(name);
        state.tx_checksum.retain(read);
        Ok(state)
    }

    fn differs(&mut self, sysctl: &str, value: &str) -> Option<String> {
        let there = self.state.sysctls.get(sysctl).cloned();
        Some(there.unwrap_or_default()).filter(|there| there != value)
    }

    fn apply(&mut self, op: &Op) -> Result<(), KernelError> {
        let fault = self.faults.contains(&self.asked);
        self.asked += 1;
        let result = if fault {
            Err(libc::EIO)
        } else {
            self.change(op)
        };
        result.map_err(|errno| KernelError {
            what: op.to_string(),
            source: io::Error::from_raw_os_error(errno),
        })
    }
}

impl FakeKernel {
    fn change(&mut self, op: &Op) -> Result<(), i32> {
        match op {
            Op::AddLink(name, link) => return self.add_link(name, link),
            Op::SetLink(name, link) => return self.set_link(name, link),
            Op::DelLink(name) => self.del_link(name),
            Op::Firewall(change) => return self.firewall(change),
            Op::ForeignForward(family, wanted) => {
                match self.state.foreign_forward.get_mut(family) {
                    Some(there) => *there = wanted.clone(),
                    None => return Err(libc::ENOENT),
                }
            }
            Op::Attached(_) => return Err(libc::EOPNOTSUPP),
            Op::Sweep(instance) => drop(self.state.others.left_behind.remove(instance)),
            Op::SetSysctl(key, value) => {
                self.sysctl_exists(key)?;
                self.state.sysctls.insert(key.clone(), value.clone());
            }
            Op::SetTxChecksum(name, on) => match self.state.tx_checksum.get_mut(name) {
                Some(there) => *there = *on,
                None => return Err(libc::ENODEV),
            },
            Op::AddAddr(name, net) => {
                self.present(name)?;
                self.state.addrs.insert((name.clone(), *net));
            }
            Op::DelAddr(name, net) => self.del_addr(name, net),
            Op::PutNeigh(key, mac) => {
                self.present(&key.0)?;
                self.state.neighs.insert(key.clone(), *mac);
            }
            Op::DelNeigh(key) => drop(self.state.neighs.remove(key)),
            Op::PutFdb(key, dst) => {
                self.forwards_to(&key.0, dst)?;
                self.state.fdb.insert(key.clone(), *dst);
            }
            Op::DelFdb(key, _) => drop(self.state.fdb.remove(key)),
            Op::PutNextHop(object) => {
                self.up(&object.dev)?;
                if !object.onlink {
                    self.reaches(&object.dev, &object.gateway.into())?;
                }
                self.state.nexthops.insert(object.clone());
            }
            Op::DelNextHop(object) => self.del_nexthop(object),
            Op::PutRoute(key, route) => self.put_route(key, route)?,
            Op::DelRoute(key, route) => {
                if self.state.routes.get(key) == Some(route) {
                    self.state.routes.remove(key);
                }
            }
        }
        Ok(())
    }

    fn present(&self, name: &str) -> Result<(), i32> {
        let there = self.state.links.contains_key(name) || self.others.contains(name);
        if there { Ok(()) } else { Err(libc::ENODEV) }
    }

    fn up(&self, name: &str) -> Result<(), i32> {
        self.present(name)?;
        let down = self.state.links.get(name).is_some_and(|link| !link.up);
        if down { Err(libc::ENETDOWN) } else { Ok(()) }
    }

    /// A VXLAN device forwards within its own address family.
    fn forwards_to(&self, name: &str, dst: &IpAddr) -> Result<(), i32> {
        self.present(name)?;
        match self.state.links.get(name).map(|link| &link.kind) {
            Some(LinkKind::Vxlan(vxlan)) if vxlan.local.is_ipv4() == dst.is_ipv4() => Ok(()),
            Some(LinkKind::Vxlan(_)) => Err(libc::EAFNOSUPPORT),
            _ => Err(libc::EOPNOTSUPP),
        }
    }

    /// A route leads by its object. Where that isn't there, it is a plain one.
    fn put_route(&mut self, key: &RouteKey, route: &Route) -> Result<(), i32> {
        let mut route = route.clone();
        let object = route.next_hop.as_object();
        let there = object.is_some_and(|object| self.state.nexthops.contains(&object));
        if route.next_hop.object() != ObjectRef::Ours || !there {
            self.leads(key, &route.next_hop)?;
            route.next_hop = route.next_hop.referring_to(ObjectRef::Plain);
        }
        self.state.routes.insert(*key, route);
        Ok(())
    }

    /// A route's device must be up, and its gateway reachable over it, or said to be. What other interfaces reach
    /// isn't known here.
    fn leads(&self, key: &RouteKey, next_hop: &NextHop) -> Result<(), i32> {
        let NextHop::Via {
            gateway,
            dev,
            onlink,
            ..
        } = next_hop
        else {
            return Ok(());
        };
        self.up(dev)?;
        let Some(gateway) = gateway else {
            return Ok(());
        };
        if *onlink {
            return self.undisputed(key, gateway, dev);
        }
        self.reaches(dev, gateway)
    }

    fn reaches(&self, dev: &str, gateway: &IpAddr) -> Result<(), i32> {
        let mut addrs = self.state.addrs.iter();
        let reached = addrs.any(|(name, net)| *dev == **name && net.contains(gateway));
        if reached || self.others.contains(dev) {
            Ok(())
        } else {
            Err(libc::ENETUNREACH)
        }
    }

    /// IPv6 refuses a gateway as onlink while a route to it (not the one to be replaced) leads elsewhere.
    fn undisputed(&self, key: &RouteKey, gateway: &IpAddr, dev: &str) -> Result<(), i32> {
        let covers = |other: &RouteKey| other != key && other.dst.contains(gateway);
        let best = self
            .state
            .routes
            .iter()
            .filter(|(other, _)| gateway.is_ipv6() && covers(other))
            .max_by_key(|(other, _)| other.dst.prefix_len());
        match best.map(|(_, route)| &route.next_hop) {
            Some(NextHop::Via { dev: other, .. }) if *other != *dev => Err(libc::EINVAL),
            _ => Ok(()),
        }
    }

    fn sysctl_exists(&self, key: &str) -> Result<(), i32> {
        match key
            .strip_prefix("net/ipv6/conf/")
            .and_then(|rest| rest.split_once('/'))
        {
            Some((name, _)) if name != "all" => self.present(name).map_err(|_| libc::ENOENT),
            _ => Ok(()),
        }
    }

    /// A device that is there already is brought into form if it is of the right kind.
    fn add_link(&mut self, name: &str, link: &Link) -> Result<(), i32> {
        let second = match &link.kind {
            LinkKind::Vxlan(vxlan) => {
                self.present(&vxlan.underlay)?;
                self.has_tunnel(vxlan)
            }
            LinkKind::Other(_) => return Err(libc::EOPNOTSUPP),
            _ => false,
        };
        if let Some(there) = self.state.links.get(name) {
            let same = there.kind == link.kind;
            return if same {
                self.set_link(name, link)
            } else {
                Err(libc::EEXIST)
            };
        }
        if self.others.contains(name) || second {
            return Err(libc::EEXIST);
        }
        self.state.links.insert(name.to_owned(), link.clone());
        if matches!(link.kind, LinkKind::Vxlan(_)) {
            self.state.tx_checksum.insert(name.to_owned(), true);
        }
        let key = format!("net/ipv6/conf/{name}/accept_ra");
        self.state.sysctls.insert(key, "1".to_owned());
        Ok(())
    }

    /// VNI and port belong to one device of a family.
    fn has_tunnel(&self, vxlan: &Vxlan) -> bool {
        self.state.links.values().any(|link| match &link.kind {
            LinkKind::Vxlan(other) => {
                (other.vni, other.port, other.local.is_ipv4())
                    == (vxlan.vni, vxlan.port, vxlan.local.is_ipv4())
            }
            _ => false,
        })
    }

    /// Kind and its attributes stay what they were. A new Ethernet address loses the neighbours; going down loses
    /// routes, neighbours and IPv6 addresses. Both keep the forwarding entries.
    fn set_link(&mut self, name: &str, wanted: &Link) -> Result<(), i32> {
        let link = self.state.links.get_mut(name).ok_or(libc::ENODEV)?;
        let (new_mac, goes_down) = (link.mac != wanted.mac, link.up && !wanted.up);
        *link = Link {
            kind: link.kind.clone(),
            ..wanted.clone()
        };
        if new_mac || goes_down {
            self.state.neighs.retain(|(dev, _), _| *dev != *name);
        }
        if goes_down {
            let stays = |dev: &String, net: &IpNet| dev != name || net.addr().is_ipv4();
            self.state.addrs.retain(|(dev, net)| stays(dev, net));
            self.drop_routes(name);
        }
        Ok(())
    }

    /// Deletes a link with all that lies on it, as somebody else might do too.
    pub fn del_link(&mut self, name: &str) {
        self.state.links.remove(name);
        self.state.tx_checksum.remove(name);
        self.state.addrs.retain(|(dev, _)| dev != name);
        self.state.neighs.retain(|(dev, _), _| *dev != *name);
        self.state.fdb.retain(|(dev, _), _| *dev != *name);
        self.state
            .sysctls
            .retain(|key, _| !key.contains(&format!("/{name}/")));
        self.drop_routes(name);
    }

    /// Deletes a nexthop object with the routes that lead by it, as somebody else might do too.
    pub fn del_nexthop(&mut self, object: &NextHopObject) {
        let by_it = |next_hop: &NextHop| {
            next_hop.object() == ObjectRef::Ours && next_hop.as_object().as_ref() == Some(object)
        };
        if self.state.nexthops.remove(object) {
            self.state.routes.retain(|_, route| !by_it(&route.next_hop));
        }
    }

    /// The last IPv4 address takes IPv4's plain routes and neighbours on its interface with it. Those by objects stay.
    fn del_addr(&mut self, name: &str, net: &IpNet) {
        let there = self.state.addrs.remove(&(name.to_owned(), *net));
        let is_v4 = |(dev, other): &(String, IpNet)| dev == name && other.addr().is_ipv4();
        if !there || net.addr().is_ipv6() || self.state.addrs.iter().any(is_v4) {
            return;
        }
        let stays = |dev: &str, addr: IpAddr| dev != name || addr.is_ipv6();
        self.state.neighs.retain(|(dev, addr), _| stays(dev, *addr));
        self.state
            .routes
            .retain(|key, route| match &route.next_hop {
                NextHop::Via {
                    dev,
                    object: ObjectRef::Plain,
                    ..
                } => stays(dev, key.dst.addr()),
                _ => true,
            });
    }

    fn drop_routes(&mut self, name: &str) {
        self.state.nexthops.retain(|object| *object.dev != *name);
        self.state
            .routes
            .retain(|_, route| !route.next_hop.is_over(name));
    }

    fn firewall(&mut self, change: &Change) -> Result<(), i32> {
        match change {
            Change::Replace(ruleset) => self.state.firewall = Some(ruleset.state()),
            Change::Delete(_) => self.state.firewall = None,
            Change::Elements { add, remove, .. } => {
                let table = self.state.firewall.as_mut().ok_or(libc::ENOENT)?;
                for (set, elements) in add {
                    let there = table.sets.get_mut(set).ok_or(libc::ENOENT)?;
                    there.elements.extend(elements.iter().cloned());
                }
                for (set, elements) in remove {
                    let there = table.sets.get_mut(set).ok_or(libc::ENOENT)?;
                    there.elements.retain(|element| !elements.contains(element));
                }
            }
        }
        Ok(())
    }
}
