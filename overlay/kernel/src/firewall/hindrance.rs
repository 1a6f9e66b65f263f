//! What others have in the way of packets: of forwarded ones, and of those that come through our tunnels. An accept of
//! ours can't overrule their drop. Told, never edited.

mod leftover;
mod words;

pub use words::{Dropper, Hindrance};

use ipnet::IpNet;
use netlink_packet_netfilter::NetfilterProtoFamily;
use tweed_attach::CNI_TABLE;
use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError};
use tweed_nft::HookPoint;
use tweed_nft::live::passage::Table;
use tweed_nft::live::read::{self, RuleReading};
use tweed_nft::live::{legacy_filter, legacy_tables};
use tweed_nft::passage::{Fate, Packet};

use self::words::FLANNEL;

/// What to look for.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// The name of our own table.
    pub own: &'a str,
    /// The pod networks.
    pub networks: &'a [IpNet],
    /// Whether accept rules of ours are put into the FORWARD chains of iptables-nft that drop by policy.
    pub accepts: bool,
    /// The tunnels: family of the outer packets, UDP port, and whether each flow of packets to it is a new one.
    pub tunnels: Vec<(Family, u16, bool)>,
    /// The interface by which their packets come, as a rule.
    pub uplink: &'a str,
    /// Whether to look for what flannel has left of address translation: that reads larger tables.
    pub leftovers: bool,
}

/// Looks for what is in the way.
///
/// # Errors
/// When the kernel refuses to say.
pub fn hindrances(
    socket: &mut Netfilter,
    asked: &Asked<'_>,
) -> Result<Vec<Hindrance>, KernelError> {
    let mut found = legacy(asked).map_err(|source| KernelError {
        what: "list the tables of legacy iptables".to_owned(),
        source,
    })?;
    for (proto, word) in [
        (NetfilterProtoFamily::Inet, "inet"),
        (NetfilterProtoFamily::IPv4, "ip"),
        (NetfilterProtoFamily::IPv6, "ip6"),
    ] {
        forward(socket, proto, word, asked, &mut found)?;
        input(socket, proto, word, asked, &mut found)?;
    }
    if asked.leftovers {
        found.extend(leftover::found(socket)?);
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

/// Packets from pods of one node to pods of another.
fn between_pods(network: IpNet) -> Packet {
    Packet {
        family: Family::of_net(&network),
        port: None,
        source: Some(network),
        destination: Some(network),
        input: None,
        new: true,
    }
}

/// Packets of peers to a tunnel.
fn to_tunnel(asked: &Asked<'_>, (family, port, new): (Family, u16, bool)) -> Packet {
    Packet {
        family,
        port: Some(port),
        source: None,
        destination: None,
        input: Some(asked.uplink.to_owned()),
        new,
    }
}

fn forward(
    socket: &mut Netfilter,
    proto: NetfilterProtoFamily,
    word: &str,
    asked: &Asked<'_>,
    found: &mut Vec<Hindrance>,
) -> Result<(), KernelError> {
    let networks = asked.networks.iter().copied();
    let networks: Vec<IpNet> = networks
        .filter(|network| concerns(proto, Family::of_net(network)))
        .collect();
    if networks.is_empty() {
        return Ok(());
    }
    for base in read::base_chains(socket, proto, HookPoint::Forward)? {
        let iptables = word != "inet" && base.table == "filter" && base.chain == "FORWARD";
        let ours = word == "inet" && (base.table == asked.own || base.table == CNI_TABLE);
        // Where iptables' drops by policy it gets accept rules of ours.
        if ours || iptables && base.drops && asked.accepts {
            continue;
        }
        match iptables {
            true => {
                let mut table = Table::new(socket, proto, &base.table);
                for network in &networks {
                    let packet = between_pods(*network);
                    let of = |fate, without_flannel| judged(false, *network, fate, without_flannel);
                    let fate = table.fate(&base, &packet, None)?;
                    let without = table.fate(&base, &packet, Some(FLANNEL))?;
                    found.extend(of(fate, without));
                }
            }
            false => found.extend(chain(socket, proto, word, &base, &networks)?),
        }
    }
    Ok(())
}

fn judged(legacy: bool, network: IpNet, fate: Fate, without_flannel: Fate) -> Option<Hindrance> {
    let all = true;
    match (fate, without_flannel) {
        (Fate::Dropped, _) => Some(Hindrance::Iptables {
            legacy,
            network,
            all,
        }),
        (_, Fate::Dropped) => Some(Hindrance::OnlyFlannel { legacy, network }),
        _ => None,
    }
}

fn input(
    socket: &mut Netfilter,
    proto: NetfilterProtoFamily,
    word: &str,
    asked: &Asked<'_>,
    found: &mut Vec<Hindrance>,
) -> Result<(), KernelError> {
    let tunnels = asked.tunnels.iter().copied();
    let tunnels: Vec<_> = tunnels
        .filter(|(family, ..)| concerns(proto, *family))
        .collect();
    if tunnels.is_empty() {
        return Ok(());
    }
    for base in read::base_chains(socket, proto, HookPoint::Input)? {
        if word == "inet" && (base.table == asked.own || base.table == CNI_TABLE) {
            continue;
        }
        let mut table = Table::new(socket, proto, &base.table);
        for tunnel in &tunnels {
            if table.fate(&base, &to_tunnel(asked, *tunnel), None)? == Fate::Dropped {
                let iptables = word != "inet" && base.table == "filter" && base.chain == "INPUT";
                let by = match (word, &*base.table) {
                    ("inet", "firewalld") => Dropper::Firewalld,
                    _ if iptables && table.has_met("ufw") => Dropper::Ufw,
                    _ if iptables => Dropper::Iptables,
                    _ => Dropper::Chain(format!("{word} {}", base.table), base.chain.clone()),
                };
                let (family, port, _) = *tunnel;
                found.push(Hindrance::Tunnel { by, family, port });
            }
        }
    }
    Ok(())
}

fn legacy(asked: &Asked<'_>) -> std::io::Result<Vec<Hindrance>> {
    let mut found = Vec::new();
    for (family, tables) in legacy_tables()? {
        let mut networks = asked.networks.iter();
        let network = networks.find(|net| Family::of_net(net) == family);
        let tunnels = asked.tunnels.iter().filter(|(of, ..)| *of == family);
        let tunnels: Vec<_> = tunnels.copied().collect();
        if !tables.contains("filter") || network.is_none() && tunnels.is_empty() {
            continue;
        }
        let table = match legacy_filter(family) {
            Ok(table) => table,
            Err(error) => {
                found.push(Hindrance::Unread(family, error.to_string()));
                continue;
            }
        };
        if let Some(network) = network.copied() {
            let packet = between_pods(network);
            let fate = |without| table.fate(table.forward, &packet, without);
            let all = fate(None) == Fate::Dropped;
            let judged = judged(true, network, fate(None), fate(Some(FLANNEL)));
            let some = table.drops(network).then_some(Hindrance::Iptables {
                legacy: true,
                network,
                all,
            });
            found.extend(some.or(judged));
        }
        for tunnel in tunnels {
            if table.fate(table.input, &to_tunnel(asked, tunnel), None) == Fate::Dropped {
                let (family, port, _) = tunnel;
                let by = Dropper::Legacy;
                found.push(Hindrance::Tunnel { by, family, port });
            }
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
    let mut found = Vec::new();
    for network in networks {
        if drops && !rules.iter().any(|rule| names(rule, network)) {
            let mut table = Table::new(socket, proto, &base.table);
            let fate = table.fate(base, &between_pods(*network), None)?;
            found.push(Hindrance::Chain {
                table: format!("{word} {}", base.table),
                chain: base.chain.clone(),
                network: *network,
                all: fate == Fate::Dropped,
            });
        }
    }
    Ok(found)
}

/// Whether a rule compares an address with the network: with all of its bytes, or with those that its length fills.
fn names(rule: &RuleReading, network: &IpNet) -> bool {
    let bytes = tweed_nft::ruleset::addr_bytes(network.network());
    let filled = usize::from(network.prefix_len())
        .div_ceil(8)
        .min(bytes.len());
    rule.compares_with(&bytes) || rule.compares_with(&bytes[..filled])
}
