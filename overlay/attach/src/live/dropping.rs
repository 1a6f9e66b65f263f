//! Which chains of others drop what containers send: an accept in one chain helps against no other.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::Netfilter;
use tweed_nft::HookPoint;
use tweed_nft::live::read::{self, proto};
use tweed_nft::live::{legacy_filter, legacy_tables, passage};
use tweed_nft::passage::{Fate, Packet};

/// The table of legacy iptables that filters.
const LEGACY: &str = "filter";

/// The chains that surely drop what one of these addresses sends, in words.
///
/// # Errors
/// When the kernel refuses to say.
pub fn dropping(
    socket: &mut Netfilter,
    addrs: &BTreeSet<IpAddr>,
) -> Result<Vec<String>, KernelError> {
    let mut found = Vec::new();
    for addr in addrs {
        let family = Family::of(addr);
        let packet = Packet {
            family,
            port: None,
            source: Some((*addr).into()),
            destination: None,
            input: None,
            new: true,
        };
        for (kind, of) in [("inet", read::INET), (words(family), proto(family))] {
            for chain in read::base_chains(socket, of, HookPoint::Forward)? {
                let mut table = passage::Table::new(socket, of, &chain.table);
                if table.fate(&chain, &packet, None)? == Fate::Dropped {
                    let (table, name) = (&chain.table, &chain.chain);
                    found.push(format!(
                        "chain {name} of nftables table {kind} {table} drops what {addr} sends"
                    ));
                }
            }
        }
        let is_legacy = legacy_tables().is_ok_and(|tables| {
            tables
                .get(&family)
                .is_some_and(|tables| tables.contains(LEGACY))
        });
        if is_legacy && legacy_filter(family).is_ok_and(|table| table.drops((*addr).into())) {
            found.push(format!(
                "legacy iptables' FORWARD drops what {addr} sends, or what is sent to it"
            ));
        }
    }
    Ok(found)
}

fn words(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}
