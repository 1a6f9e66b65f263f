//! What is in the way, in words: what it is, and behind the first colon the commands that mend it.

use std::fmt;

use ipnet::IpNet;
use tweed_model::Family;

/// flannel's chain of accept rules.
pub(super) const FLANNEL: &str = "FLANNEL-FWD";

/// Something that drops pods' packets, or that may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// A FORWARD chain of iptables drops what comes from or goes to a pod network.
    Iptables {
        /// Legacy iptables, not that of nftables.
        legacy: bool,
        /// The pod network.
        network: IpNet,
        /// Surely all packets between pods of different nodes.
        all: bool,
    },
    /// It would, but for a chain that flannel has left there.
    OnlyFlannel {
        /// Legacy iptables, not that of nftables.
        legacy: bool,
        /// The pod network.
        network: IpNet,
    },
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
        /// Surely all packets between pods of different nodes.
        all: bool,
    },
    /// All packets of other nodes that come to a tunnel's port are dropped.
    Tunnel {
        /// The program that drops them.
        by: Dropper,
        /// Family of the packets' addresses.
        family: Family,
        /// The tunnel's UDP port.
        port: u16,
    },
    /// flannel's rules that translate addresses still stand.
    Translation {
        /// Name of the table or chain.
        what: String,
        /// What removes it.
        command: String,
    },
}

/// The owner of a chain that drops packets to this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dropper {
    /// Legacy iptables.
    Legacy,
    /// iptables of nftables.
    Iptables,
    /// ufw, which writes iptables rules.
    Ufw,
    Firewalld,
    /// A chain: family and name of its table, and its name.
    Chain(String, String),
}

/// What is written into a packet filter by hand is gone after a reboot.
const KEEP: &str = "and keep that over reboots, as with netfilter-persistent save";

impl Hindrance {
    /// A fixed word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tunnel { .. } => "input",
            Self::Translation { .. } | Self::OnlyFlannel { .. } => "flannel",
            _ => "forward",
        }
    }

    /// Whether all packets of its kind are surely dropped. Pods may reach others all the same: by direct routes, by another
    /// accepted backend, or since there is no other node.
    pub fn stops(&self) -> bool {
        match self {
            Self::Iptables { all, .. } | Self::Chain { all, .. } => *all,
            Self::Tunnel { .. } => true,
            Self::OnlyFlannel { .. } | Self::Unread(..) | Self::Translation { .. } => false,
        }
    }
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iptables {
                legacy, network, ..
            } => {
                let (name, accepts) = (name(*legacy), accepts(*legacy, network));
                write!(
                    f,
                    "the FORWARD chain of {name} drops packets of pods; accept them, {KEEP}: {accepts}"
                )
            }
            Self::OnlyFlannel { legacy, network } => {
                let (name, accepts) = (name(*legacy), accepts(*legacy, network));
                write!(
                    f,
                    "flannel's chain FLANNEL-FWD alone lets packets of pods through the FORWARD chain of {name}, and the next reboot removes it; accept them, {KEEP}: {accepts}"
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
                ..
            } if table == "inet firewalld" => write!(
                f,
                "firewalld's chain {chain} rejects what it has no rule for, and none names {network}; accept it: firewall-cmd --permanent --zone=trusted --add-source={network} && firewall-cmd --reload"
            ),
            Self::Chain {
                table,
                chain,
                network,
                ..
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
            Self::Tunnel { by, family, port } => tunnel(f, by, *family, *port),
            Self::Translation { what, command } => write!(
                f,
                "flannel's {what} still stands, and masquerades pods as flannel's flags and subnet were, which need not be this agent's; once flannel is not to come back, remove it: {command}"
            ),
        }
    }
}

fn tunnel(f: &mut fmt::Formatter<'_>, by: &Dropper, family: Family, port: u16) -> fmt::Result {
    let drops = format!("drops all packets of other nodes ({family}, UDP port {port})");
    let rule = |program: &str| format!("{program} -I INPUT -p udp --dport {port} -j ACCEPT");
    match by {
        Dropper::Legacy => {
            let command = rule(program(true, family));
            write!(
                f,
                "the INPUT chain of legacy iptables {drops}; accept them, {KEEP}: {command}"
            )
        }
        Dropper::Iptables => {
            let command = rule(program(false, family));
            write!(
                f,
                "the INPUT chain of iptables {drops}; accept them, {KEEP}: {command}"
            )
        }
        Dropper::Ufw => write!(f, "ufw {drops}; accept them: ufw allow {port}/udp"),
        Dropper::Firewalld => write!(
            f,
            "firewalld {drops}; accept them: firewall-cmd --permanent --add-port={port}/udp && firewall-cmd --reload"
        ),
        Dropper::Chain(table, chain) => write!(
            f,
            "chain {chain} of nftables table {table} {drops}; accept them: nft insert rule {table} {chain} udp dport {port} accept"
        ),
    }
}

fn name(legacy: bool) -> &'static str {
    match legacy {
        true => "legacy iptables",
        false => "iptables",
    }
}

pub(super) fn program(legacy: bool, family: Family) -> &'static str {
    match (legacy, family) {
        (true, Family::V4) => "iptables-legacy",
        (true, Family::V6) => "ip6tables-legacy",
        (false, Family::V4) => "iptables-nft",
        (false, Family::V6) => "ip6tables-nft",
    }
}

fn accepts(legacy: bool, network: &IpNet) -> String {
    let program = program(legacy, Family::of_net(network));
    format!(
        "{program} -I FORWARD -s {network} -j ACCEPT; {program} -I FORWARD -d {network} -j ACCEPT"
    )
}
