//! A walk through the nftables chains of others with packets of one kind: what surely becomes of them.

mod expression;
mod lookup;

use std::collections::BTreeMap;

use netlink_packet_netfilter::NetfilterProtoFamily;

use crate::live::read::{self, RuleReading};
use crate::passage::{Chains, Fate, Packet, Step, fate};
use lookup::Sets;
use tweed_netlink::{Netfilter, NetlinkError};

/// A table, of which only those chains are read that packets come through.
pub struct Table<'a> {
    socket: &'a mut Netfilter,
    family: NetfilterProtoFamily,
    name: &'a str,
    chains: BTreeMap<String, Vec<RuleReading>>,
    sets: Sets,
    failed: bool,
}

impl<'a> Table<'a> {
    pub fn new(socket: &'a mut Netfilter, family: NetfilterProtoFamily, name: &'a str) -> Self {
        Self {
            socket,
            family,
            name,
            chains: BTreeMap::new(),
            sets: Sets::default(),
            failed: false,
        }
    }

    /// What becomes of packets that enter at a chain. Chains called `without` count as empty.
    pub fn fate(
        &mut self,
        chain: &read::BaseChain,
        packet: &Packet,
        without: Option<&str>,
    ) -> Result<Fate, NetlinkError> {
        let before = read::generation(self.socket)?;
        let start = (chain.chain.clone(), 0);
        let mut walk = Walk {
            table: self,
            packet,
            without,
        };
        let fate = match fate(&mut walk, start) {
            Fate::Falls if chain.drops => Fate::Dropped,
            Fate::Falls => Fate::Passes,
            decided => decided,
        };
        // Somebody is at work: the next look will tell.
        let torn = self.failed || read::generation(self.socket)? != before;
        Ok(if torn { Fate::Passes } else { fate })
    }

    /// Whether a chain with this beginning of its name was met.
    pub fn has_met(&self, beginning: &str) -> bool {
        self.chains.keys().any(|name| name.starts_with(beginning))
    }

    fn chain(&mut self, name: &str) -> &[RuleReading] {
        if !self.chains.contains_key(name) {
            let rules = read::rules(self.socket, self.family, self.name, Some(name), None);
            self.failed |= rules.is_err();
            self.chains
                .insert(name.to_owned(), rules.unwrap_or_default());
        }
        &self.chains[name]
    }
}

struct Walk<'a, 'b> {
    table: &'a mut Table<'b>,
    packet: &'a Packet,
    without: Option<&'a str>,
}

impl Chains for Walk<'_, '_> {
    type At = (String, usize);

    fn rule(&mut self, (chain, index): &Self::At) -> Option<Step<Self::At>> {
        if self.without == Some(chain.as_str()) {
            return None;
        }
        let rule = self.table.chain(chain).get(*index)?.clone();
        let table = &mut *self.table;
        let (socket, family, name) = (&mut *table.socket, table.family, table.name);
        let sets = &mut table.sets;
        let mut find = |set: &str| sets.of(socket, family, name, set);
        let (holds, verdict) = expression::judge(&rule, self.packet, &mut find);
        Some(Step {
            holds,
            verdict,
            next: (chain.clone(), index + 1),
        })
    }
}
