//! Rulesets in nft's words, for `tweedd plan` and for people. `nft -f` accepts the text and lists it back alike.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use tweed_model::Family;

use super::ruleset::{
    Chain, ChainKind, DataType, Hook, HookPoint, L4Proto, MapKey, Match, Rule, Ruleset, Set, Side,
    Verdict, data_len,
};
use super::userdata::cut_comment;
use super::{inner, too_big};

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {} {{", self.table)?;
        for (index, (name, set)) in self.sets.iter().enumerate() {
            f.write_str(if index > 0 { "\n" } else { "" })?;
            write_set(f, name, set)?;
        }
        for (index, (name, chain)) in (self.sets.len()..).zip(&self.chains) {
            f.write_str(if index > 0 { "\n" } else { "" })?;
            write_chain(f, name, chain)?;
        }
        f.write_str("}\n")
    }
}

fn write_set(f: &mut fmt::Formatter<'_>, name: &str, set: &Set) -> fmt::Result {
    let kind = if set.value.is_empty() { "set" } else { "map" };
    let key = types(&set.key);
    writeln!(f, "\t{kind} {name} {{")?;
    if let [
        DataType::Ipv4Addr | DataType::Ipv6Addr,
        DataType::InnerSource(family),
    ] = set.key[..]
    {
        // nft has no name for the type.
        writeln!(
            f,
            "\t\ttypeof {} saddr . {}",
            ip(family),
            inner::words(family)
        )?;
    } else if set.value.is_empty() {
        writeln!(f, "\t\ttype {key}")?;
    } else {
        writeln!(f, "\t\ttype {key} : {}", types(&set.value))?;
    }
    if set.interval {
        writeln!(f, "\t\tflags interval")?;
    }
    if !set.elements.is_empty() {
        let elements: Vec<String> = set
            .elements
            .iter()
            .map(|bytes| element_text(set, bytes))
            .collect();
        writeln!(
            f,
            "\t\telements = {{ {} }}",
            elements.join(",\n\t\t\t     ")
        )?;
    }
    f.write_str("\t}\n")
}

fn write_chain(f: &mut fmt::Formatter<'_>, name: &str, chain: &Chain) -> fmt::Result {
    writeln!(f, "\tchain {name} {{")?;
    if let Some(hook) = &chain.hook {
        let (kind, point, priority) = (hook.kind, hook.point, hook.priority);
        let policy = policy(hook);
        writeln!(
            f,
            "\t\ttype {kind} hook {point} priority {priority}; policy {policy};"
        )?;
    }
    for rule in &chain.rules {
        writeln!(f, "\t\t{rule}")?;
    }
    f.write_str("\t}\n")
}

impl Set {
    /// Key, value and kind as one text: what two sets must share to be the same but for their elements.
    pub(crate) fn type_text(&self) -> String {
        let mut text = types(&self.key);
        if !self.value.is_empty() {
            text.push_str(" : ");
            text.push_str(&types(&self.value));
        }
        if self.interval {
            text.push_str(" interval");
        }
        text
    }
}

fn types(parts: &[DataType]) -> String {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    parts.join(" . ")
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::IfName => "ifname",
            Self::EtherAddr => "ether_addr",
            Self::InnerSource(_) => "integer",
        })
    }
}

fn element_text(set: &Set, bytes: &[u8]) -> String {
    let (key, rest) = bytes.split_at(data_len(&set.key).min(bytes.len()));
    let first = parts_text(&set.key, key);
    if set.interval {
        let last = parts_text(&set.key, rest);
        let ranges: Vec<String> = first
            .iter()
            .zip(&last)
            .map(|(first, last)| {
                if first == last {
                    first.clone()
                } else {
                    format!("{first}-{last}")
                }
            })
            .collect();
        ranges.join(" . ")
    } else if set.value.is_empty() {
        first.join(" . ")
    } else {
        let value = parts_text(&set.value, rest);
        format!("{} : {}", first.join(" . "), value.join(" . "))
    }
}

fn parts_text(parts: &[DataType], mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        let (here, rest) = bytes.split_at(part.padded_len().min(bytes.len()));
        bytes = rest;
        texts.push(part_text(*part, here));
    }
    texts
}

fn part_text(part: DataType, bytes: &[u8]) -> String {
    match (part, bytes) {
        (DataType::Ipv4Addr, &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).to_string(),
        (DataType::Ipv6Addr, bytes) => match <[u8; 16]>::try_from(bytes) {
            Ok(octets) => Ipv6Addr::from(octets).to_string(),
            Err(_) => format!("{bytes:02x?}"),
        },
        (DataType::InnerSource(_), bytes) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("0x{digits}")
        }
        (DataType::InetProto, [proto, ..]) => proto.to_string(),
        (DataType::InetService, [high, low, ..]) => u16::from_be_bytes([*high, *low]).to_string(),
        (_, bytes) => format!("{bytes:02x?}"),
    }
}

/// The form in which a [`super::ChainState`] holds it: `nat postrouting 100 accept`.
impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, point, priority) = (self.kind, self.point, self.priority);
        write!(f, "{kind} {point} {priority} {}", policy(self))
    }
}

fn policy(hook: &Hook) -> &'static str {
    if hook.drop { "drop" } else { "accept" }
}

impl fmt::Display for ChainKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ChainKind {
    /// The kernel's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.matches {
            write!(f, "{part} ")?;
        }
        if self.counter {
            f.write_str("counter ")?;
        }
        write!(f, "{}", self.verdict)?;
        if !self.comment.is_empty() {
            write!(f, " comment \"{}\"", cut_comment(&self.comment))?;
        }
        Ok(())
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net { side, not, net } => {
                let ip = ip(Family::of_net(net));
                write!(f, "{ip} {side} {}{}", unequal(*not), net.trunc())
            }
            Self::InSet {
                side,
                family,
                not,
                set,
            } => write!(f, "{} {side} {}@{set}", ip(*family), unequal(*not)),
            Self::PairInSet { family, not, set } => {
                let (ip, not) = (ip(*family), unequal(*not));
                write!(f, "{ip} saddr . {ip} daddr {not}@{set}")
            }
            Self::FlowInSet { family, set } => {
                let ip = ip(*family);
                write!(
                    f,
                    "{ip} saddr . {ip} daddr . meta l4proto . th dport @{set}"
                )
            }
            Self::InnerInSet { family, bits, set } => {
                let (ip, source) = (ip(*family), inner::words(*family));
                write!(f, "{ip} saddr . ")?;
                if *bits < family.bits() {
                    let mask = inner::prefix_mask(*family, *bits);
                    let mask = part_text(DataType::InnerSource(*family), &mask);
                    write!(f, "({source} & {mask}) @{set}")
                } else {
                    write!(f, "{source} @{set}")
                }
            }
            Self::Mark { value, mask } => write!(f, "meta mark & {mask:#010x} == {value:#010x}"),
            Self::L4Proto(proto) => write!(f, "meta l4proto {proto}"),
            Self::DestPort { proto, port } => write!(f, "{proto} dport {port}"),
            Self::SourcePort { proto, port } => write!(f, "{proto} sport {port}"),
            Self::Transport { offset, bytes } => {
                let (start, bits) = (u32::from(*offset) * 8, bytes.len() * 8);
                let value = bytes.iter().fold(0u64, |v, b| v << 8 | u64::from(*b));
                write!(f, "@th,{start},{bits} {value:#x}")
            }
            Self::TooBig { outside } => f.write_str(&too_big::words(outside)),
            Self::LocalDestination => f.write_str("fib daddr type local"),
            Self::Translated => f.write_str("ct status dnat"),
            Self::AnswerOf(net) => write!(f, "ct direction reply ct original ip daddr {net}"),
            Self::InInterface { not, name } => write!(f, "iifname {}\"{name}\"", unequal(*not)),
            Self::InKind(kind) => write!(f, "meta iifkind \"{kind}\""),
            Self::PortInSet(set) => write!(f, "iifname @{set}"),
            Self::SourceNotInSet(set) => write!(f, "iifname . ether saddr != @{set}"),
            Self::NoWayBack => f.write_str("fib saddr . iif oif missing"),
            Self::OutInterface { not, name } => write!(f, "oifname {}\"{name}\"", unequal(*not)),
        }
    }
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn unequal(not: bool) -> &'static str {
    if not { "!= " } else { "" }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "saddr",
            Self::Destination => "daddr",
        })
    }
}

impl fmt::Display for L4Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl MapKey {
    fn words(self, ip: &str) -> String {
        let addr = match self {
            Self::ProtoPort => String::new(),
            Self::AddrProtoPort => format!("{ip} daddr . "),
            Self::Flow => format!("{ip} saddr . {ip} daddr . "),
        };
        format!("{addr}meta l4proto . th dport")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Mark(bits) => write!(f, "meta mark set meta mark | {bits:#010x}"),
            Self::Masquerade { fully_random } => f.write_str(if *fully_random {
                "masquerade fully-random"
            } else {
                "masquerade"
            }),
            Self::Dnat(to) => write!(f, "dnat {} to {to}", ip(Family::of(&to.ip()))),
            Self::DnatMap { family, key, map } => {
                let ip = ip(*family);
                write!(f, "dnat {ip} to {} map @{map}", key.words(ip))
            }
            Self::WriteSource { key, map } => {
                write!(f, "ip saddr set {} map @{map}", key.words("ip"))
            }
            Self::WriteDestination(to) => write!(f, "ip daddr set {to}"),
        }
    }
}
