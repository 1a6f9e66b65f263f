//! The rules and tables of an interface's addresses: made, compared, removed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use tweed_model::Family;
use tweed_netlink::{LinkInfo, Netlink, RouteKind, RouteSpec, SourceRule, TABLE_MAIN, WholeRoute};

use super::config::SbrConfig;
use super::lock;
use super::tables::{OURS, Tables};
use crate::net::namespace;
use crate::net::routes::everywhere;
use crate::runtime::plugin::Request;
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{Call, CniError, CniResult, Context, IpConfig};

/// Routes what comes from the addresses of the interface by it. What an earlier ADD has made is used again.
///
/// # Errors
/// When the interface has no address, or the kernel refuses.
pub(super) fn attach(
    request: &Request<'_>,
    config: &SbrConfig,
    prev: &CniResult,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let ifname = &request.call.attachment.ifname;
    if prev.ips.is_empty() {
        let msg = format!("No IP addresses supplied on interface: {ifname}");
        return Err(CniError::config(msg));
    }
    let ips: Vec<&IpConfig> = prev.addresses_of(ifname).collect();
    let netns = namespace::open(request.call)?;
    let _lock = lock::namespace(&netns)?;
    let mut inside = netns.netlink()?;
    let there = Tables::read(
        &mut inside,
        &families(ips.iter().map(|ip| ip.address.addr())),
    )?;
    let (call, table) = (request.call.clone(), config.table);
    let addrs = ips
        .iter()
        .map(|ip| ip.address.addr())
        .collect::<BTreeSet<_>>();
    undo.push(move || Removal::of(|removal| detach(&call, &addrs, table, removal)));
    if let Some(table) = config.table {
        return ips
            .iter()
            .try_for_each(|ip| add_rule(&mut inside, &there, ip.address.addr(), table));
    }
    let container = inside
        .link(ifname)?
        .ok_or_else(|| CniError::failed(format!("Cannot find network interface {ifname}")))?;
    let mut job = Job {
        netlink: &mut inside,
        container: &container,
        there: &there,
        taken: BTreeSet::new(),
    };
    for ip in &ips {
        job.route(ip, config)?;
    }
    job.leave_main(&ips, config)
}

/// One ADD.
struct Job<'a> {
    netlink: &'a mut Netlink,
    container: &'a LinkInfo,
    there: &'a Tables,
    /// The tables that addresses have got.
    taken: BTreeSet<u32>,
}

impl Job<'_> {
    /// Gives an address its rule, and a table with a default route and copies of the routes that serve it.
    fn route(&mut self, ip: &IpConfig, config: &SbrConfig) -> Result<(), CniError> {
        let source = ip.address.addr();
        let earlier = self
            .there
            .of_source(source)
            .first()
            .map(|(_, table)| *table);
        // Or another program has removed its rule alone.
        let orphans = self.there.orphans(self.container.index).into_iter();
        let mut orphans = orphans.filter(|(_, gateway)| ip.address.contains(gateway));
        let earlier = earlier.or_else(|| orphans.next().map(|(table, _)| table));
        let table = earlier.unwrap_or_else(|| self.there.free(&self.taken));
        self.taken.insert(table);
        add_rule(self.netlink, self.there, source, table)?;
        let gateway = gateway(ip, config);
        let main = self.there.by(self.container.index, TABLE_MAIN);
        let served = main.into_iter().filter(|route| serves(route, ip.address));
        let (on_link, by_gateway): (Vec<_>, Vec<_>) =
            served.partition(|route| route.info.gateway.is_none());
        for route in on_link {
            self.netlink.put_in_table(route, table)?;
        }
        if let Some(gateway) = gateway {
            let everywhere = everywhere(Family::of(&source));
            let spec = RouteSpec {
                table,
                protocol: OURS,
                ..RouteSpec::to(everywhere)
                    .dev(self.container.dev())
                    .via(gateway)
            };
            // One of an earlier ADD, or copied then, serves as well.
            let is_there = self
                .there
                .by(self.container.index, table)
                .iter()
                .any(|route| route.info.dst == everywhere && route.info.gateway == Some(gateway));
            if !is_there {
                self.netlink
                    .put_route(&spec)
                    .context(|| format!("Failed to add default route to {gateway}"))?;
            }
        }
        for route in by_gateway {
            self.netlink.put_in_table(route, table)?;
        }
        Ok(())
    }

    /// Takes the routes out of the main table, now that each address's table has its own. With hints the routes to what
    /// is on the link stay.
    fn leave_main(&mut self, ips: &[&IpConfig], config: &SbrConfig) -> Result<(), CniError> {
        for ip in ips.iter().filter(|_| config.add_source_hints) {
            let spec = RouteSpec {
                src: Some(ip.address.addr()),
                scope: match ip.address {
                    IpNet::V4(_) => LINK,
                    IpNet::V6(_) => 0,
                },
                ..RouteSpec::to(ip.address.trunc()).dev(self.container.dev())
            };
            self.netlink.put_route(&spec).or_else(ignore_existing)?;
        }
        for route in self.there.by(self.container.index, TABLE_MAIN) {
            let stays = config.add_source_hints && route.info.gateway.is_none();
            let is_served = ips.iter().any(|ip| serves(route, ip.address));
            if stays || !is_served {
                continue;
            }
            match self.netlink.del_whole_route(route) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// `RT_SCOPE_LINK`.
const LINK: u8 = 253;

/// Removes the rules of these addresses and of those that the interface has now, and their tables; routes that were in
/// the main table go back there.
pub(super) fn detach(
    call: &Call,
    addrs: &BTreeSet<IpAddr>,
    fixed: Option<u32>,
    removal: &mut Removal,
) -> Result<(), CniError> {
    let Some(netns) = namespace::open_if_there(call)? else {
        return Ok(());
    };
    let mut inside = match netns.netlink() {
        // What can be opened but not entered is no network namespace.
        Err(error) if error.is_gone() => return Ok(()),
        other => other?,
    };
    let _lock = lock::namespace(&netns)?;
    let container = inside.link(&call.attachment.ifname)?;
    let mut addrs = addrs.clone();
    if let Some(container) = &container {
        let own = inside.addrs(Some(container.index))?;
        addrs.extend(own.iter().map(|addr| addr.net.addr()));
    }
    let there = Tables::read(&mut inside, &families(addrs.iter().copied()))?;
    let index = container.as_ref().map(|link| link.index);
    let rules: Vec<_> = addrs
        .iter()
        .flat_map(|addr| there.of_source(*addr))
        .collect();
    let orphans = index.map(|index| there.orphans(index)).unwrap_or_default();
    let tables = rules.iter().map(|(_, table)| *table);
    let tables: BTreeSet<u32> = tables
        .chain(orphans.iter().map(|(table, _)| *table))
        .collect();
    for table in tables.iter().filter(|_| fixed.is_none()) {
        let routes = index.map(|index| there.by(index, *table));
        for route in routes.unwrap_or_default() {
            removal.step(move_back(&mut inside, route));
        }
    }
    for (rule, table) in rules {
        if fixed.is_some_and(|fixed| fixed != table) {
            continue;
        }
        match inside.del_rule(&rule) {
            Err(error) if error.is_not_found() => {}
            deleted => {
                removal.step(deleted.map_err(CniError::from));
            }
        }
    }
    Ok(())
}

/// Takes a route out of an address's table, and puts it into the main one unless another is there in its place.
fn move_back(netlink: &mut Netlink, route: &WholeRoute) -> Result<(), CniError> {
    if route.info.protocol != OURS {
        netlink
            .add_to_table(route, TABLE_MAIN)
            .or_else(ignore_existing)?;
    }
    match netlink.del_whole_route(route) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Compares with what should be.
///
/// # Errors
/// The first address without its rule, or without its way out.
pub(super) fn check(
    request: &Request<'_>,
    config: &SbrConfig,
    prev: &CniResult,
) -> Result<(), CniError> {
    let ifname = &request.call.attachment.ifname;
    let ips: Vec<&IpConfig> = prev.addresses_of(ifname).collect();
    let mut inside = namespace::open(request.call)?.netlink()?;
    let there = Tables::read(
        &mut inside,
        &families(ips.iter().map(|ip| ip.address.addr())),
    )?;
    let container = inside.link(ifname)?;
    let container =
        container.ok_or_else(|| CniError::drift(format!("interface {ifname} not found")))?;
    for ip in ips {
        let source = ip.address.addr();
        let tables = there.of_source(source);
        let is_right = |(_, table): &&(SourceRule, u32)| config.table.is_none_or(|t| t == *table);
        let Some((_, table)) = tables.iter().find(is_right) else {
            return Err(CniError::drift(format!(
                "there is no rule for packets from {source}"
            )));
        };
        let Some(gateway) = gateway(ip, config).filter(|_| config.table.is_none()) else {
            continue;
        };
        let routes = there.by(container.index, *table);
        // A default route that the interface had takes the place of that by a configured gateway.
        let is_configured = ip.gateway != Some(gateway);
        let leads = |route: &&WholeRoute| {
            let is_own = is_configured && route.info.protocol != OURS;
            route.info.dst.prefix_len() == 0 && (is_own || route.info.gateway == Some(gateway))
        };
        if !routes.iter().any(leads) {
            let msg = format!("table {table} has no default route by {gateway}");
            return Err(CniError::drift(msg).details(format!("packets from {source} need it")));
        }
    }
    Ok(())
}

/// The interface's addresses as the previous result names them, if there is one that can be read.
pub(super) fn named(request: &Request<'_>) -> BTreeSet<IpAddr> {
    let prev = request
        .conf
        .prev_result()
        .ok()
        .flatten()
        .unwrap_or_default();
    let ips = prev.addresses_of(&request.call.attachment.ifname);
    ips.map(|ip| ip.address.addr()).collect()
}

fn families(addrs: impl Iterator<Item = IpAddr>) -> BTreeSet<Family> {
    addrs.map(|addr| Family::of(&addr)).collect()
}

fn gateway(ip: &IpConfig, config: &SbrConfig) -> Option<IpAddr> {
    let fixed = match ip.address {
        IpNet::V4(_) => config.gateways.v4,
        IpNet::V6(_) => config.gateways.v6,
    };
    fixed.or(ip.gateway)
}

fn add_rule(
    netlink: &mut Netlink,
    there: &Tables,
    source: IpAddr,
    table: u32,
) -> Result<(), CniError> {
    if there.of_source(source).iter().any(|(_, of)| *of == table) {
        return Ok(());
    }
    let rule = SourceRule::of(source, table);
    netlink.add_rule(&rule).context(|| "Failed to add rule")
}

/// Whether a route of the main table is for packets from an address: it says so by source or gateway, or says nothing.
fn serves(route: &WholeRoute, address: IpNet) -> bool {
    let info = &route.info;
    let is_family = Family::of_net(&info.dst) == Family::of_net(&address);
    let near = |addr: Option<IpAddr>| addr.is_some_and(|addr| address.contains(&addr));
    let is_general = info.src.is_none() && info.gateway.is_none();
    let is_plain = info.kind == RouteKind::Unicast && !is_link_local(route);
    is_family && is_plain && (is_general || near(info.src) || near(info.gateway))
}

/// Routes to link-local and multicast addresses stay where they are: neighbours are asked for by them.
fn is_link_local(route: &WholeRoute) -> bool {
    match route.info.dst {
        IpNet::V4(_) => false,
        IpNet::V6(dst) => {
            dst.prefix_len() > 0 && (dst.addr().is_multicast() || is_unicast_link_local(dst.addr()))
        }
    }
}

fn is_unicast_link_local(addr: Ipv6Addr) -> bool {
    addr.segments()[0] & 0xffc0 == 0xfe80
}

fn ignore_existing(error: tweed_netlink::NetlinkError) -> Result<(), tweed_netlink::NetlinkError> {
    match error.is_exists() {
        true => Ok(()),
        false => Err(error),
    }
}
