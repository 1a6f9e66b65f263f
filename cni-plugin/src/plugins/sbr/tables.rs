//! What is in the container: its rules, and its routes in all tables.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::Family;
use tweed_netlink::{Netlink, RouteFilter, SourceRule, TABLE_MAIN, WholeRoute};

use crate::spec::CniError;

/// The first table that is taken for an address.
const FIRST: u32 = 100;

/// The routing protocol of a default route that was in no table before: it goes, where others move back.
pub(super) const OURS: u8 = 84;

/// Tables of the kernel's own: default, main, local.
const KERNELS: [u32; 3] = [253, TABLE_MAIN, 255];

/// The rules and routes of some families.
pub(super) struct Tables {
    pub(super) rules: Vec<SourceRule>,
    routes: Vec<WholeRoute>,
}

impl Tables {
    pub(super) fn read(
        netlink: &mut Netlink,
        families: &BTreeSet<Family>,
    ) -> Result<Self, CniError> {
        let (mut rules, mut routes) = (Vec::new(), Vec::new());
        for family in families.iter().copied() {
            rules.extend(netlink.rules(family)?);
            let table = None;
            routes.extend(netlink.whole_routes(&RouteFilter { family, table })?);
        }
        Ok(Self { rules, routes })
    }

    /// The rules for exactly this source, with their tables. The kernel's own tables are no address's.
    pub(super) fn of_source(&self, source: IpAddr) -> Vec<(SourceRule, u32)> {
        let rules = self.rules.iter();
        let rules = rules.filter(|rule| rule.source == Some(IpNet::from(source)));
        let with_table = rules.filter_map(|rule| Some((*rule, rule.table?)));
        with_table
            .filter(|(_, table)| !KERNELS.contains(table))
            .collect()
    }

    /// The routes of a table that lead by an interface, those without a gateway first: the others rest on them.
    pub(super) fn by(&self, index: u32, table: u32) -> Vec<&WholeRoute> {
        let routes = self.routes.iter();
        let mut routes: Vec<_> = routes
            .filter(|route| route.info.table == table && route.info.oif == Some(index))
            .collect();
        routes.sort_by_key(|route| route.info.gateway.is_some());
        routes
    }

    /// The tables that lead by an interface through a default route of ours, and have no rule any more; with its gateway.
    pub(super) fn orphans(&self, index: u32) -> Vec<(u32, IpAddr)> {
        let routes = self.routes.iter().map(|route| &route.info);
        let ours = routes.filter(|info| info.oif == Some(index) && info.protocol == OURS);
        let tables = ours.filter_map(|info| Some((info.table, info.gateway?)));
        let ruled = |table: u32| self.rules.iter().any(|rule| rule.table == Some(table));
        tables
            .filter(|(table, _)| !KERNELS.contains(table) && !ruled(*table))
            .collect()
    }

    /// The first table from a number on that no rule and no route knows, and that is none of `more`.
    pub(super) fn free(&self, more: &BTreeSet<u32>) -> u32 {
        let rules = self.rules.iter().filter_map(|rule| rule.table);
        let routes = self.routes.iter().map(|route| route.info.table);
        let taken: BTreeSet<u32> = rules.chain(routes).chain(KERNELS).collect();
        let is_free = |table: &u32| !taken.contains(table) && !more.contains(table);
        (FIRST..).find(is_free).unwrap_or(FIRST)
    }
}
