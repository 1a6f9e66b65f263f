//! What agents of other networks have in the packet filter: how tables and accept rules of ours are known whatever the
//! name of the instance.

use std::collections::{BTreeMap, BTreeSet};

use tweed_attach::CNI_TABLE;
use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError};
use tweed_nft::live::read::{self, INET, RuleReading};
use tweed_nft::live::table::apply;
use tweed_nft::render::TABLE_COMMENT;
use tweed_nft::{Change, ForeignForward, INPUT_CHAIN, Mark, tunnel_chain};

use super::foreign::{self, apply_foreign};

/// The other instances that have a table or accept rules of ours, by name; those without a table come with `false`.
pub(super) fn instances(
    socket: &mut Netfilter,
    own: &str,
) -> Result<BTreeMap<String, bool>, NetlinkError> {
    let mut found = BTreeMap::new();
    for (table, comment) in read::tables(socket)? {
        let other = table != own && table != CNI_TABLE;
        if other && is_agents(socket, &table, comment.as_deref())? {
            found.insert(table, true);
        }
    }
    for owner in foreign::owners(socket)? {
        if owner != own && is_derived(&owner) {
            found.entry(owner).or_insert(false);
        }
    }
    Ok(found)
}

/// A table of an agent's has its comment. A kernel before 5.10 keeps no comment of a table: there one with a name as
/// agents derive it is theirs if it has a rule with our fingerprint.
fn is_agents(
    socket: &mut Netfilter,
    table: &str,
    comment: Option<&str>,
) -> Result<bool, NetlinkError> {
    if comment == Some(TABLE_COMMENT) {
        return Ok(true);
    }
    if comment.is_some() || !is_derived(table) {
        return Ok(false);
    }
    match read::rules(socket, INET, table, None, None) {
        Err(error) if error.is_not_found() => Ok(false),
        rules => Ok(rules?.iter().any(|rule| rule.fingerprint() != 0)),
    }
}

/// Names that an agent gives itself: `tweed`, and `tweed-` with eight hexadecimal digits.
fn is_derived(name: &str) -> bool {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    match name.strip_prefix("tweed") {
        Some("") => true,
        Some(rest) => {
            let digits = rest.strip_prefix('-').unwrap_or_default();
            digits.len() == 8 && digits.chars().all(is_hex)
        }
        None => false,
    }
}

/// Whether the table drops packets of one of these tunnels from whom it doesn't know: in a chain of the port's, or, as
/// earlier versions have it, among the rules for all that comes in.
pub(super) fn drops_tunnel(
    socket: &mut Netfilter,
    table: &str,
    tunnels: &BTreeMap<u16, Option<Mark>>,
) -> Result<bool, NetlinkError> {
    let rules = match read::rules(socket, INET, table, None, None) {
        Err(error) if error.is_not_found() => return Ok(false),
        rules => rules?,
    };
    let tunnels = tunnels.iter();
    let mut marked = tunnels.filter_map(|(port, mark)| Some((*port, mark.as_ref()?)));
    Ok(marked.any(|(port, mark)| {
        let own_chain = tunnel_chain(port);
        let about_port = |rule: &RuleReading| {
            let all = rule.chain == INPUT_CHAIN && rule.compares_with(&port.to_be_bytes());
            all || rule.chain == own_chain
        };
        let mut rules = rules.iter();
        rules.any(|rule| rule.compares_with(&mark.bytes) && about_port(rule))
    }))
}

/// Removes an instance's table and accept rules.
pub(super) fn sweep(socket: &mut Netfilter, instance: &str) -> Result<(), KernelError> {
    apply(socket, &Change::Delete(instance.to_owned()))?;
    for family in Family::BOTH {
        let none = ForeignForward {
            accept: BTreeSet::new(),
        };
        apply_foreign(socket, instance, family, &none)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_names_are_told_from_others() {
        for name in ["tweed", "tweed-d4686d65", "tweed-00000000"] {
            assert!(is_derived(name), "{name}");
        }
        for name in [
            "tweed-cni",
            "tweed-D4686D65",
            "tweed-d4686d6",
            "flannel",
            "tweedd4686d65",
        ] {
            assert!(!is_derived(name), "{name}");
        }
    }
}
