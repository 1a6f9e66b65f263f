//! What Go's `bridge` plugin has made for a container that ours now removes: masquerading through iptables (its rules in
//! `nat POSTROUTING`, each of which jumps to a chain of the container's own) or in a table of its own. Both carry the
//! owner in a comment. iptables-nft's tables are nftables tables; those of legacy iptables are not touched.

use netlink_packet_netfilter::NetfilterProtoFamily;
use sha2::{Digest, Sha512};

use super::foreign::{comment_match, proto};
use super::read::{self, INET, RuleReading};
use super::{Step, persist};
use crate::firewall::render::{del_chain, del_rule};
use crate::kernel::KernelError;
use crate::model::Family;
use crate::netlink::{Netfilter, NetlinkError};

const NAT: &str = "nat";
const POSTROUTING: &str = "POSTROUTING";

/// The plugin's own table and the chain with a rule for each address, since its release 1.6.
const TABLE: &str = "cni_plugins_masquerade";
const CHECKS: &str = "masq_checks";

/// Removes Go's masquerading of one interface of a container. (Through iptables it knows no interfaces: there all of
/// the container's rules go, as they do when that plugin removes them.)
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn remove_migrated(
    socket: &mut Netfilter,
    network: &str,
    container: &str,
    ifname: &str,
) -> Result<(), KernelError> {
    for family in Family::BOTH {
        persist(socket, |socket| {
            iptables(socket, proto(family), network, container)
        })?;
    }
    let prefix = format!(
        "{}-{}",
        hex(network, 16),
        hex(&format!("{ifname}:{container}"), 16)
    );
    persist(socket, |socket| own_table(socket, &prefix))?;
    Ok(())
}

/// The rules that jump to the container's chain, then the chain.
fn iptables(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    network: &str,
    container: &str,
) -> Result<Option<Step>, NetlinkError> {
    let comment = format!("name: {network:?} id: {container:?}");
    let rules = list(socket, family, NAT, POSTROUTING)?;
    let jumps = rules
        .iter()
        .filter(|rule| comment_of(rule).as_deref() == Some(comment.as_str()));
    let mut messages: Vec<_> = jumps
        .map(|rule| del_rule(family, (NAT, POSTROUTING), rule.handle))
        .collect();
    let chain = format!("CNI-{}", hex(&format!("{network}{container}"), 24));
    let inside = list(socket, family, NAT, &chain)?;
    if !inside.is_empty() {
        let rules = inside.iter().map(|rule| rule.handle);
        messages.extend(rules.map(|handle| del_rule(family, (NAT, &chain), handle)));
        messages.push(del_chain(family, (NAT, &chain)));
    }
    Ok((!messages.is_empty()).then_some((messages, None)))
}

fn own_table(socket: &mut Netfilter, prefix: &str) -> Result<Option<Step>, NetlinkError> {
    let rules = list(socket, INET, TABLE, CHECKS)?;
    let theirs = rules
        .iter()
        .filter(|rule| comment_of(rule).is_some_and(|comment| comment.starts_with(prefix)));
    let messages: Vec<_> = theirs
        .map(|rule| del_rule(INET, (TABLE, CHECKS), rule.handle))
        .collect();
    Ok((!messages.is_empty()).then_some((messages, None)))
}

/// The rules of a chain; none where it isn't there.
fn list(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    table: &str,
    chain: &str,
) -> Result<Vec<RuleReading>, NetlinkError> {
    match read::rules(socket, family, table, Some(chain), None) {
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        rules => rules,
    }
}

fn comment_of(rule: &RuleReading) -> Option<String> {
    let comment = rule.comment().map(str::to_owned);
    comment.or_else(|| comment_match(rule))
}

/// The first digits of a text's SHA-512.
fn hex(text: &str, digits: usize) -> String {
    let mut hex: String = Sha512::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    hex.truncate(digits);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        // The vector that the reference's own tests have for this name.
        assert_eq!(hex("test1234", 24), "2bbe0c48b91a7d1b8a6753a8");
    }
}
