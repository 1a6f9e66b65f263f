//! Accept rules of ours in `ip filter FORWARD` and `ip6 filter FORWARD`, the chains of iptables-nft: where their policy
//! is drop, as Docker sets it, no accept in a table of ours lets a packet through.
//!
//! The rules are plain prefix matches. A set look-up would vanish from `iptables-save`, whose output, restored, would
//! then accept everything. The comment says whose they are and what they do, also after such a restore, which keeps
//! the comment but moves it from user data into a match (seen with iptables 1.8.9).

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError};
use tweed_nft::live::read::{self, RuleReading, comment_match, proto};
use tweed_nft::live::table::persist;
use tweed_nft::render::{Message, accept_net, del_rule, rule_message};
use tweed_nft::ruleset::Side;
use tweed_nft::{ForeignForward, userdata};

const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";

/// The rules of ours, by family, where such a chain drops by policy, or still has rules of ours from when it did.
/// `owner` is the name of our own table, by which several networks on one host tell their rules apart.
///
/// # Errors
/// When the kernel refuses to say.
pub fn observe_foreign(
    socket: &mut Netfilter,
    owner: &str,
) -> Result<BTreeMap<Family, ForeignForward>, KernelError> {
    let mut found = BTreeMap::new();
    for family in Family::BOTH {
        if let Some(forward) = observe_family(socket, owner, family)? {
            found.insert(family, forward);
        }
    }
    Ok(found)
}

fn observe_family(
    socket: &mut Netfilter,
    owner: &str,
    family: Family,
) -> Result<Option<ForeignForward>, NetlinkError> {
    let Some(drops) = read::drops_by_default(socket, proto(family), TABLE, CHAIN)? else {
        return Ok(None);
    };
    let rules = match read::rules(socket, proto(family), TABLE, Some(CHAIN), None) {
        Err(error) if error.is_not_found() => return Ok(None),
        rules => rules?,
    };
    let accept = pairs(&ours(owner, &rules));
    Ok((drops || !accept.is_empty()).then_some(ForeignForward { accept }))
}

/// Makes the family's chain hold exactly these rules of ours, new ones at its head. Without the chain there is nothing
/// to do.
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn apply_foreign(
    socket: &mut Netfilter,
    owner: &str,
    family: Family,
    wanted: &ForeignForward,
) -> Result<(), KernelError> {
    persist(socket, |socket| {
        read::consistent(socket, |socket, generation| {
            let chain = read::drops_by_default(socket, proto(family), TABLE, CHAIN)?;
            if chain.is_none() {
                return Ok(None);
            }
            let now = Some(generation);
            let rules = read::rules(socket, proto(family), TABLE, Some(CHAIN), now)?;
            let messages = changes(owner, family, wanted, &ours(owner, &rules));
            Ok((!messages.is_empty()).then_some((messages, now)))
        })
    })
    .map_err(KernelError::from)
}

/// Owners of accept rules in these chains, by the comments.
pub(super) fn owners(socket: &mut Netfilter) -> Result<BTreeSet<String>, NetlinkError> {
    let mut owners = BTreeSet::new();
    for family in Family::BOTH {
        let rules = match read::rules(socket, proto(family), TABLE, Some(CHAIN), None) {
            Err(error) if error.is_not_found() => continue,
            rules => rules?,
        };
        let comments = rules.iter().filter_map(comment_of);
        owners.extend(comments.filter_map(|comment| {
            let (owner, _) = comment.split_once(" forward ")?;
            parse_comment(owner, &comment)?;
            Some(owner.to_owned())
        }));
    }
    Ok(owners)
}

fn comment_of(rule: &RuleReading) -> Option<String> {
    let comment = rule.comment().map(str::to_owned);
    comment.or_else(|| comment_match(rule))
}

/// A rule of ours: what it accepts, and its handle.
type OurRule = (Side, IpNet, u64);

fn ours(owner: &str, rules: &[RuleReading]) -> Vec<OurRule> {
    let ours = |rule: &RuleReading| {
        let (side, net) = parse_comment(owner, &comment_of(rule)?)?;
        Some((side, net, rule.handle))
    };
    rules.iter().filter_map(ours).collect()
}

fn comment(owner: &str, side: Side, net: IpNet) -> String {
    let side = match side {
        Side::Source => "from",
        Side::Destination => "to",
    };
    format!("{owner} forward {side} {net}")
}

fn parse_comment(owner: &str, text: &str) -> Option<(Side, IpNet)> {
    let text = text.strip_prefix(owner)?.strip_prefix(" forward ")?;
    let (side, net) = text.split_once(' ')?;
    let side = match side {
        "from" => Side::Source,
        "to" => Side::Destination,
        _ => return None,
    };
    Some((side, net.parse().ok()?))
}

/// The prefixes that are accepted both ways.
fn pairs(ours: &[OurRule]) -> BTreeSet<IpNet> {
    let way = |side: Side| -> BTreeSet<IpNet> {
        let rules = ours.iter().filter(|rule| rule.0 == side);
        rules.map(|rule| rule.1).collect()
    };
    let (from, to) = (way(Side::Source), way(Side::Destination));
    from.intersection(&to).copied().collect()
}

fn changes(
    owner: &str,
    family: Family,
    wanted: &ForeignForward,
    there: &[OurRule],
) -> Vec<Message> {
    let chain = (TABLE, CHAIN);
    let mut missing: Vec<(Side, IpNet)> = wanted
        .accept
        .iter()
        .filter(|net| Family::of_net(net) == family)
        .flat_map(|net| [(Side::Source, *net), (Side::Destination, *net)])
        .collect();
    let mut messages = Vec::new();
    for (side, net, handle) in there {
        match missing.iter().position(|wanted| *wanted == (*side, *net)) {
            Some(index) => {
                missing.remove(index);
            }
            // Not wanted, or there twice.
            None => messages.push(del_rule(proto(family), chain, *handle)),
        }
    }
    // Each goes before the one inserted last: in reverse they stand in order.
    for (side, net) in missing.into_iter().rev() {
        messages.push(rule_message(
            proto(family),
            0,
            chain,
            accept_net(side, net),
            userdata::comment(&comment(owner, side, net)),
        ));
    }
    messages
}
