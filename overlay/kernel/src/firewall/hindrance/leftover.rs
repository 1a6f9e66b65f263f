//! What flannel has left of address translation.

use std::collections::BTreeSet;

use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::Netfilter;
use tweed_nft::live::{legacy_table, legacy_tables, read};

use super::words::{Hindrance, program};

/// flannel's chain in the table `nat` of iptables.
const CHAIN: &str = "FLANNEL-POSTRTG";

pub(super) fn found(socket: &mut Netfilter) -> Result<Vec<Hindrance>, KernelError> {
    let mut found = BTreeSet::new();
    let legacy = legacy_tables().unwrap_or_default();
    for family in Family::BOTH {
        let chains = read::all_chains(socket, read::proto(family))?;
        if chains.contains(&("nat".to_owned(), CHAIN.to_owned())) {
            found.insert(chain(false, family));
        }
        let (ip, own) = match family {
            Family::V4 => ("ip", "flannel-ipv4"),
            Family::V6 => ("ip6", "flannel-ipv6"),
        };
        if chains.iter().any(|(table, _)| table == own) {
            let what = format!("nftables table {ip} {own}");
            found.insert((what, format!("nft delete table {ip} {own}")));
        }
        let has_nat = legacy
            .get(&family)
            .is_some_and(|tables| tables.contains("nat"));
        let table = has_nat.then(|| legacy_table(family, "nat"));
        let mut names = table.into_iter().flatten().flat_map(|table| table.chains());
        if names.any(|(_, name)| name == CHAIN) {
            found.insert(chain(true, family));
        }
    }
    let of = |(what, command)| Hindrance::Translation { what, command };
    Ok(found.into_iter().map(of).collect())
}

fn chain(legacy: bool, family: Family) -> (String, String) {
    let program = program(legacy, family);
    let jump = "POSTROUTING -m comment --comment \"flanneld masq\" -j FLANNEL-POSTRTG";
    (
        format!("chain {CHAIN} of {program}"),
        format!(
            "{program} -t nat -D {jump}; {program} -t nat -F {CHAIN}; {program} -t nat -X {CHAIN}"
        ),
    )
}
