//! A kernel in memory that refuses and cascades as Linux does, for property tests of what stands above it.

use std::collections::BTreeSet;
use std::io;

use super::{Kernel, KernelError};
use crate::firewall::Change;
use crate::plan::{KernelState, Link, LinkKind, NextHop, Op, Scope};

/// The kernel. Everything in `state` counts as within any scope.
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
}

impl Kernel for FakeKernel {
    fn observe(&mut self, _: &Scope) -> Result<KernelState, KernelError> {
        Ok(self.state.clone())
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
            Op::SetSysctl(key, value) => {
                self.sysctl_exists(key)?;
                self.state.sysctls.insert(key.clone(), value.clone());
            }
            Op::AddAddr(name, net) => {
                self.present(name)?;
                self.state.addrs.insert((name.clone(), *net));
            }
            Op::DelAddr(name, net) => drop(self.state.addrs.remove(&(name.clone(), *net))),
            Op::PutNeigh(key, mac) => {
                self.up(&key.0)?;
                self.state.neighs.insert(key.clone(), *mac);
            }
            Op::DelNeigh(key) => drop(self.state.neighs.remove(key)),
            Op::PutFdb(key, dst) => {
                self.present(&key.0)?;
                self.state.fdb.insert(key.clone(), *dst);
            }
            Op::DelFdb(key, _) => drop(self.state.fdb.remove(key)),
            Op::PutRoute(key, route) => {
                if let NextHop::Via { dev, .. } = &route.next_hop {
                    self.up(dev)?;
                }
                self.state.routes.insert(*key, route.clone());
            }
            Op::DelRoute(key, _) => drop(self.state.routes.remove(key)),
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

    fn sysctl_exists(&self, key: &str) -> Result<(), i32> {
        match key
            .strip_prefix("net/ipv6/conf/")
            .and_then(|rest| rest.split_once('/'))
        {
            Some((name, _)) if name != "all" => self.present(name).map_err(|_| libc::ENOENT),
            _ => Ok(()),
        }
    }

    fn add_link(&mut self, name: &str, link: &Link) -> Result<(), i32> {
        if self.present(name).is_ok() {
            return Err(libc::EEXIST);
        }
        let LinkKind::Vxlan(vxlan) = &link.kind else {
            return Err(libc::EOPNOTSUPP);
        };
        self.present(&vxlan.underlay)?;
        self.state.links.insert(name.to_owned(), link.clone());
        Ok(())
    }

    /// Kind and its attributes stay what they were. Going down loses routes and neighbours, and keeps the FDB.
    fn set_link(&mut self, name: &str, wanted: &Link) -> Result<(), i32> {
        let link = self.state.links.get_mut(name).ok_or(libc::ENODEV)?;
        *link = Link {
            kind: link.kind.clone(),
            ..wanted.clone()
        };
        if !link.up {
            self.state.neighs.retain(|(dev, _), _| dev != name);
            self.drop_routes(name);
        }
        Ok(())
    }

    /// Deletes a link with all that lies on it, as somebody else might do too.
    pub fn del_link(&mut self, name: &str) {
        self.state.links.remove(name);
        self.state.addrs.retain(|(dev, _)| dev != name);
        self.state.neighs.retain(|(dev, _), _| dev != name);
        self.state.fdb.retain(|(dev, _), _| dev != name);
        self.state
            .sysctls
            .retain(|key, _| !key.contains(&format!("/{name}/")));
        self.drop_routes(name);
    }

    fn drop_routes(&mut self, name: &str) {
        let on_it = |hop: &NextHop| matches!(hop, NextHop::Via { dev, .. } if dev == name);
        self.state.routes.retain(|_, route| !on_it(&route.next_hop));
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
