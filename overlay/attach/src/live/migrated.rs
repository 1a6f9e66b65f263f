//! What Go's `bridge` and `portmap` plugins have made for a container that ours now removes: masquerading and host ports
//! through iptables (rules that jump to a chain of the container's own) or in tables of their own. Both carry the owner
//! in a comment. iptables-nft's tables are nftables tables; those of legacy iptables are not touched.

use netlink_packet_netfilter::NetfilterProtoFamily;
use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError};
use tweed_nft::live::read::{self, BRIDGE, INET, RuleReading, comment_match, proto};
use tweed_nft::live::table::{Step, persist};
use tweed_nft::render::{del_chain, del_rule};

use crate::sha512_hex as hex;

const NAT: &str = "nat";
const POSTROUTING: &str = "POSTROUTING";

/// The plugin's own table and the chain with a rule for each address, since its release 1.6.
const TABLE: &str = "cni_plugins_masquerade";
const CHECKS: &str = "masq_checks";

/// The chain of iptables from which `portmap` jumps to each container's.
const PORTS: &str = "CNI-HOSTPORT-DNAT";
/// Its own table, and the chains with rules of containers.
const PORTS_TABLE: &str = "cni_hostport";
const PORTS_CHAINS: [&str; 3] = ["hostports", "hostip_hostports", "masquerading"];

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

/// Removes the host ports that Go's `portmap` has made for a container: all of them, since it knows no interfaces.
///
/// # Errors
/// As [`remove_migrated`].
pub fn remove_migrated_ports(
    socket: &mut Netfilter,
    network: &str,
    container: &str,
) -> Result<(), KernelError> {
    let chain = format!("CNI-DN-{}", hex(&format!("{network}{container}"), 21));
    let comment = format!("dnat name: {network:?} id: {container:?}");
    for family in Family::BOTH.map(proto) {
        persist(socket, |socket| {
            let jumps = (PORTS, comment.as_str());
            container_chain(socket, family, jumps, &chain)
        })?;
        persist(socket, |socket| ports_table(socket, family, container))?;
    }
    Ok(())
}

/// Removes the check of source addresses (`macspoofchk`) that Go's `bridge` has made for one interface of a container.
///
/// # Errors
/// As [`remove_migrated`].
pub fn remove_migrated_source(
    socket: &mut Netfilter,
    container: &str,
    ifname: &str,
) -> Result<(), KernelError> {
    let comment = format!("macspoofchk-{container}-{ifname}");
    let chain = format!("cni-br-iface-{container}-{ifname}");
    // The first chain jumps to the second.
    let chains = [
        ("PREROUTING", chain.clone()),
        (chain.as_str(), format!("{chain}-mac")),
    ];
    for (from, chain) in &chains {
        persist(socket, |socket| {
            container_chain(socket, BRIDGE, (from, &comment), chain)
        })?;
    }
    Ok(())
}

/// In the plugin's own table each of a container's rules has the container as comment.
fn ports_table(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    container: &str,
) -> Result<Option<Step>, NetlinkError> {
    let mut messages = Vec::new();
    for chain in PORTS_CHAINS {
        let rules = list(socket, family, PORTS_TABLE, chain)?;
        let theirs = rules
            .iter()
            .filter(|rule| comment_of(rule).as_deref() == Some(container));
        messages.extend(theirs.map(|rule| del_rule(family, (PORTS_TABLE, chain), rule.handle)));
    }
    Ok((!messages.is_empty()).then_some((messages, None)))
}

fn iptables(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    network: &str,
    container: &str,
) -> Result<Option<Step>, NetlinkError> {
    let comment = format!("name: {network:?} id: {container:?}");
    let chain = format!("CNI-{}", hex(&format!("{network}{container}"), 24));
    container_chain(socket, family, (POSTROUTING, &comment), &chain)
}

/// The rules of a chain that jump to the container's own, known by their comment, then the container's chain.
fn container_chain(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    (from, comment): (&str, &str),
    chain: &str,
) -> Result<Option<Step>, NetlinkError> {
    let rules = list(socket, family, NAT, from)?;
    let jumps = rules
        .iter()
        .filter(|rule| comment_of(rule).as_deref() == Some(comment));
    let mut messages: Vec<_> = jumps
        .map(|rule| del_rule(family, (NAT, from), rule.handle))
        .collect();
    let inside = list(socket, family, NAT, chain)?;
    if !inside.is_empty() {
        let rules = inside.iter().map(|rule| rule.handle);
        messages.extend(rules.map(|handle| del_rule(family, (NAT, chain), handle)));
        messages.push(del_chain(family, (NAT, chain)));
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
