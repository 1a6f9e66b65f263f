//! What others have in the way of forwarded packets: an accept of ours can't overrule their drop. Told, never edited.

use std::fmt;

use ipnet::IpNet;
use netlink_packet_netfilter::NetfilterProtoFamily;
use tweed_attach::CNI_TABLE;
use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError};
use tweed_nft::HookPoint;
use tweed_nft::live::read::{self, RuleReading};
use tweed_nft::live::{legacy_filter, legacy_tables};

/// Something that drops pods' packets, or that may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Legacy iptables' FORWARD chain drops what comes from or goes to a pod network.
    Legacy(IpNet),
    /// Legacy iptables has a filter table of this family, which can't be read.
    Unread(Family, String),
    /// An nftables chain drops what none of its rules accepts, and no rule of its table names the pod network.
    Chain {
        /// Family and name of its table, as `nft` takes them.
        table: String,
        /// Its name.
        chain: String,
        /// The pod network.
        network: IpNet,
    },
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Legacy(network) => {
                let program = match Family::of_net(network) {
                    Family::V4 => "iptables-legacy",
                    Family::V6 => "ip6tables-legacy",
                };
                write!(
                    f,
                    "the FORWARD chain of legacy iptables drops packets of pods; accept them: {program} -I FORWARD -s {network} -j ACCEPT; {program} -I FORWARD -d {network} -j ACCEPT"
                )
            }
            Self::Unread(family, error) => write!(
                f,
                "legacy iptables has a filter table for {family}, which may drop packets of pods and can't be read ({error}); see: iptables-legacy-save, ip6tables-legacy-save"
            ),
            Self::Chain {
                table,
                chain,
                network,
            } if table == "inet firewalld" => write!(
                f,
                "firewalld's chain {chain} rejects what it has no rule for, and none names {network}; accept it: firewall-cmd --permanent --zone=trusted --add-source={network} && firewall-cmd --reload"
            ),
            Self::Chain {
                table,
                chain,
                network,
            } => {
                let ip = match Family::of_net(network) {
                    Family::V4 => "ip",
                    Family::V6 => "ip6",
                };
                write!(
                    f,
                    "chain {chain} of nftables table {table} drops forwarded packets that it has no rule for, and none names {network}; accept them: nft insert rule {table} {chain} {ip} saddr {network} accept; nft insert rule {table} {chain} {ip} daddr {network} accept"
                )
            }
        }
    }
}

/// Looks for what is in the way of these pod networks. `own` is the name of our own table.
///
/// # Errors
/// When the kernel refuses to say.
pub fn hindrances(
    socket: &mut Netfilter,
    own: &str,
    networks: &[IpNet],
) -> Result<Vec<Hindrance>, KernelError> {
    let mut found = legacy(networks).map_err(|source| KernelError {
        what: "list the tables of legacy iptables".to_owned(),
        source,
    })?;
    for (proto, word) in [
        (NetfilterProtoFamily::Inet, "inet"),
        (NetfilterProtoFamily::IPv4, "ip"),
        (NetfilterProtoFamily::IPv6, "ip6"),
    ] {
        let concerned: Vec<IpNet> = networks
            .iter()
            .filter(|network| concerns(proto, Family::of_net(network)))
            .copied()
            .collect();
        if concerned.is_empty() {
            continue;
        }
        for base in read::base_chains(socket, proto, HookPoint::Forward)? {
            // Ours has no such chain; iptables-nft's gets accept rules of ours.
            let known = match proto {
                NetfilterProtoFamily::Inet => base.table == own || base.table == CNI_TABLE,
                _ => base.table == "filter" && base.chain == "FORWARD",
            };
            if !known {
                found.extend(chain(socket, proto, word, &base, &concerned)?);
            }
        }
    }
    Ok(found)
}

fn concerns(proto: NetfilterProtoFamily, family: Family) -> bool {
    match proto {
        NetfilterProtoFamily::IPv4 => family == Family::V4,
        NetfilterProtoFamily::IPv6 => family == Family::V6,
        _ => true,
    }
}

fn legacy(networks: &[IpNet]) -> std::io::Result<Vec<Hindrance>> {
    let mut found = Vec::new();
    for (family, tables) in legacy_tables()? {
        let mut concerned = networks.iter().filter(|net| Family::of_net(net) == family);
        let Some(network) = concerned.next().filter(|_| tables.contains("filter")) else {
            continue;
        };
        match legacy_filter(family) {
            Ok(table) if table.drops(*network) => found.push(Hindrance::Legacy(*network)),
            Ok(_) => {}
            Err(error) => found.push(Hindrance::Unread(family, error.to_string())),
        }
    }
    Ok(found)
}

fn chain(
    socket: &mut Netfilter,
    proto: NetfilterProtoFamily,
    word: &str,
    base: &read::BaseChain,
    networks: &[IpNet],
) -> Result<Vec<Hindrance>, NetlinkError> {
    let rules = match read::rules(socket, proto, &base.table, None, None) {
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        rules => rules?,
    };
    let mut own = rules.iter().filter(|rule| rule.chain == base.chain);
    let drops = base.drops || own.next_back().is_some_and(RuleReading::drops_all);
    let unnamed = networks
        .iter()
        .filter(|network| drops && !rules.iter().any(|rule| names(rule, network)));
    Ok(unnamed
        .map(|network| Hindrance::Chain {
            table: format!("{word} {}", base.table),
            chain: base.chain.clone(),
            network: *network,
        })
        .collect())
}

/// Whether a rule compares an address with the network: with all of its bytes, or with those that its length fills.
fn names(rule: &RuleReading, network: &IpNet) -> bool {
    let bytes = tweed_nft::ruleset::addr_bytes(network.network());
    let filled = usize::from(network.prefix_len())
        .div_ceil(8)
        .min(bytes.len());
    rule.compares_with(&bytes) || rule.compares_with(&bytes[..filled])
}
