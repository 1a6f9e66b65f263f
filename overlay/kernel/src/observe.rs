//! Dumps, sorted into the state that concerns us. Interfaces go by name from here on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tweed_host::{KernelError, sysctl};
use tweed_model::{Family, LinkName, Mac};
use tweed_netlink::{LinkInfo, Netlink, NetlinkError, RouteFilter, TABLE_MAIN, TX_CHECKSUM};
use tweed_state::{FdbKey, KernelState, NeighKey, NextHop, Route, RouteKey, Scope};

use super::connected::route_key;
use super::ledger::Uplink;
use super::linux::{Devices, Linux, or_none};
use super::nexthops::seen::Seen;
use super::readings::{as_fdb, as_link, as_route};
use super::{kinds, ownership};

/// Everything of ours, and the books brought up to date with it.
pub(super) fn observe(linux: &mut Linux, scope: &Scope) -> Result<KernelState, KernelError> {
    linux.devices.clear();
    linux.others.links.clear();
    linux.others.standing.clear();
    // From here on the monitor goes by the new scope: what changes during the dumps is news.
    let same_uplink = linux.ledger.lock().enter(scope);
    let mut state = KernelState::default();
    let own = links(linux, scope, same_uplink, &mut state)?;
    let mut entries = Entries::default();
    for link in &own {
        entries.add(&mut linux.netlink, link, &mut state)?;
        tx_checksum(linux, scope, link, &mut state);
    }
    state.neighs = entries.neighs.into_iter().collect();
    state.fdb = entries.fdb.into_iter().collect();
    routes(linux, scope, &mut state)?;
    for key in &scope.sysctls {
        // One that can't be read counts as absent: writing it will say what is wrong, and nothing else has to wait.
        if let Ok(Some(value)) = sysctl::read(key) {
            state.sysctls.insert(key.clone(), value);
        }
    }
    let firewall = linux.firewall.observe(scope)?;
    if scope.sweep && linux.others.can_tell() {
        let others = &mut linux.others;
        linux.firewall.look_at_others(scope, others, &mut state)?;
    }
    state.firewall = firewall.table;
    state.foreign_forward = firewall.foreign_forward;
    linux.ledger.lock().observed(&state);
    Ok(state)
}

/// Our links: a dump for each of our kinds finds them, by name and by alias; what else stands under our names is asked for by
/// name. A host with hundreds of pods has hundreds of other interfaces, and none of them is looked at.
fn links(
    linux: &mut Linux,
    scope: &Scope,
    same_uplink: bool,
    state: &mut KernelState,
) -> Result<Vec<LinkInfo>, KernelError> {
    let mut found = Vec::new();
    for kind in kinds::NAMES {
        found.extend(linux.netlink.links_of_kind(kind)?);
    }
    for name in &scope.link_names {
        if !found.iter().any(|link| link.name == *name) {
            found.extend(linux.netlink.link(name)?);
        }
    }
    let uplink = match scope.uplink.as_str() {
        "" => None,
        name => linux.netlink.link(name)?,
    };
    for link in found.iter().chain(&uplink) {
        linux.devices.note(link);
    }
    let mut own = Vec::new();
    for info in found {
        let underlay = kinds::underlay(&info);
        let underlay = name_of(&linux.devices, &mut linux.netlink, underlay)?;
        let link = as_link(&info, underlay.unwrap_or_default());
        if let Some(holder) = linux.others.holder(scope, &info.name, &link) {
            if scope.link_names.contains(&info.name) {
                state.others.taken.insert(info.name, holder);
            }
            continue;
        }
        if ownership::owns_link(scope, &info.name, &link) {
            state.links.insert(info.name.clone(), link);
            own.push(info);
        }
    }
    let uplink_addrs = match &uplink {
        Some(link) if !same_uplink => or_none(linux.netlink.addrs(Some(link.index)))?,
        _ => Vec::new(),
    };
    let mut books = linux.ledger.lock();
    books.links = own
        .iter()
        .map(|link| (link.index, link.name.clone()))
        .collect();
    if !same_uplink {
        books.uplink_idle = uplink.as_ref().is_some_and(Uplink::is_idle);
        books.uplink = uplink.as_ref().map(Uplink::of);
        books.uplink_addrs = uplink_addrs.iter().map(|addr| addr.net).collect();
    }
    Ok(own)
}

/// The name of an interface by its index: from the look-ups so far, or from the kernel.
fn name_of(
    devices: &Devices,
    netlink: &mut Netlink,
    index: u32,
) -> Result<Option<String>, NetlinkError> {
    match devices.name_of(index) {
        _ if index == 0 => Ok(None),
        Some(name) => Ok(Some(name.to_owned())),
        None => Ok(netlink.link_by_index(index)?.map(|link| link.name)),
    }
}

/// What there is one of for each peer, in the kernel's order: sorted once, when all is read.
#[derive(Default)]
struct Entries {
    neighs: Vec<(NeighKey, Mac)>,
    fdb: Vec<(FdbKey, IpAddr)>,
}

impl Entries {
    /// Adds those of one of our links, and its addresses to the state. If it goes away meanwhile, it has none.
    fn add(
        &mut self,
        netlink: &mut Netlink,
        link: &LinkInfo,
        state: &mut KernelState,
    ) -> Result<(), KernelError> {
        let (dev, name) = (link.dev(), &link.name);
        let addrs = or_none(netlink.addrs(Some(link.index)))?;
        let global = addrs.into_iter().filter(|addr| addr.scope == 0);
        state
            .addrs
            .extend(global.map(|addr| (name.clone(), addr.net)));
        let name = LinkName::from(link.name.as_str());
        for family in Family::BOTH {
            let there = or_none(netlink.neighs(dev, family))?;
            let permanent = there.into_iter().filter(|neigh| neigh.permanent);
            self.neighs.extend(
                permanent.filter_map(|neigh| Some(((name.clone(), neigh.addr), neigh.mac?))),
            );
        }
        if link.kind == "vxlan" {
            let there = or_none(netlink.fdb(dev))?;
            self.fdb.extend(
                there
                    .iter()
                    .filter_map(|entry| Some(((name.clone(), entry.mac), as_fdb(entry)?))),
            );
        }
        Ok(())
    }
}

/// One that can't be read counts as absent, like a sysctl.
fn tx_checksum(linux: &mut Linux, scope: &Scope, link: &LinkInfo, state: &mut KernelState) {
    if !scope.tx_checksum.contains(&link.name) {
        return;
    }
    let read = linux.ethtool();
    match read.and_then(|ethtool| ethtool.feature(&link.name, TX_CHECKSUM)) {
        Ok(on) => drop(state.tx_checksum.insert(link.name.clone(), on)),
        Err(error) => tracing::debug!(%error, "can't read a feature"),
    }
}

/// Our nexthop objects and routes. Where several routes share destination and metric, the kernel uses the first: if that
/// one isn't ours, ours has no effect and counts as missing, so that it is put again.
fn routes(linux: &mut Linux, scope: &Scope, state: &mut KernelState) -> Result<(), KernelError> {
    let own: BTreeSet<String> = state.links.keys().cloned().collect();
    let others = linux.others.links.clone();
    let mut names = Names::default();
    let objects = linux.netlink.nexthops()?;
    let mut objects = Seen::new(objects, &scope.table, |index| {
        let name = names.get(linux, Some(index))?;
        let name = name.filter(|name| !others.contains(name));
        Ok::<_, NetlinkError>(name.map(|name| {
            let is_own = own.contains(&*name);
            (name, is_own)
        }))
    })?;
    linux.connected.start();
    let mut found: Vec<(RouteKey, Option<Route>)> = Vec::new();
    for family in Family::BOTH {
        let table = Some(TABLE_MAIN);
        for mut info in linux.netlink.routes(&RouteFilter { family, table })? {
            linux.connected.note(&info);
            objects.complete(&mut info);
            let dev = names.get(linux, info.oif)?;
            let route = as_route(&info, dev, objects.reference(&info)).filter(|(key, route)| {
                !leads_over(&route.next_hop, &others)
                    && ownership::owns_route(scope, |dev| own.contains(dev), key, route)
            });
            if route.is_none() {
                objects.foreign(&info);
            }
            if info.tos == 0 {
                found.push((route_key(&info), route.map(|(_, route)| route)));
            }
        }
    }
    // They come all but sorted, and stay in the kernel's order where they share a key.
    found.sort_by_key(|(key, _)| *key);
    found.dedup_by(|later, first| later.0 == first.0);
    let ours = found.into_iter();
    let ours = ours.filter_map(|(key, route)| Some((key, route?)));
    state.routes = ours.collect();
    linux.ledger.lock().nexthops = objects.into_state(state);
    Ok(())
}

/// Names of interfaces by index, each looked up once.
#[derive(Default)]
struct Names(BTreeMap<u32, Option<LinkName>>);

impl Names {
    fn get(
        &mut self,
        linux: &mut Linux,
        index: Option<u32>,
    ) -> Result<Option<LinkName>, NetlinkError> {
        let Some(index) = index else {
            return Ok(None);
        };
        if let Some(name) = self.0.get(&index) {
            return Ok(name.clone());
        }
        let name = name_of(&linux.devices, &mut linux.netlink, index)?;
        let name = name.map(|name| LinkName::from(name.as_str()));
        self.0.insert(index, name.clone());
        Ok(name)
    }
}

/// Whether a route leads over one of these interfaces.
fn leads_over(next_hop: &NextHop, links: &BTreeSet<LinkName>) -> bool {
    matches!(next_hop, NextHop::Via { dev, .. } if links.contains(dev))
}
