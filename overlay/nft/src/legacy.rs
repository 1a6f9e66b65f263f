//! A table of legacy iptables (`ip_tables`, not nftables) as the kernel hands it out: a list of rules one behind the
//! other, with jumps as distances from its start. Read only to tell whether forwarded packets of pods get through.

mod passage;

use ipnet::IpNet;
use tweed_model::Family;
use tweed_model::subnet::number;

use super::ruleset::Side;

/// The rules of one table.
#[derive(Clone, Debug)]
pub struct LegacyTable {
    /// Family of its addresses.
    pub family: Family,
    /// Where the INPUT chain begins; nowhere in a table without one.
    pub input: usize,
    /// Where the FORWARD chain begins.
    pub forward: usize,
    /// The rules as the kernel keeps them.
    pub rules: Vec<u8>,
}

/// How a walk through a chain ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Accepted,
    Dropped,
    /// Back to the calling chain; or nothing that can be told.
    Returned,
}

/// More rules than this are not looked at: whatever the bytes, the walk ends.
const STEPS: usize = 200_000;
/// The kernel allows no more chains on the way either.
const DEPTH: usize = 64;

/// `struct xt_entry_match` and `struct xt_entry_target`: size, name, revision.
const HEADER: usize = 32;
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const RETURN: i32 = -5;

impl LegacyTable {
    /// Whether the FORWARD chain drops what is forwarded from or to a network. Rules that also look at something else
    /// than addresses, at the interface for one, are passed over: they may hold for some packets.
    pub fn drops(&self, network: IpNet) -> bool {
        let dropped = |side| {
            let mut steps = STEPS;
            self.walk(self.forward, (side, network), DEPTH, &mut steps) == End::Dropped
        };
        Family::of_net(&network) == self.family
            && [Side::Source, Side::Destination].into_iter().any(dropped)
    }

    fn walk(&self, start: usize, packet: (Side, IpNet), depth: usize, steps: &mut usize) -> End {
        let mut at = start;
        while let (Some(rule), true) = (self.rule(at), depth > 0 && *steps > 0) {
            *steps -= 1;
            at += rule.length;
            if !rule.holds(packet) {
                continue;
            }
            let jump = match rule.target {
                Target::Verdict(ACCEPT) => return End::Accepted,
                Target::Verdict(DROP) | Target::Reject => return End::Dropped,
                Target::Verdict(RETURN) | Target::End => return End::Returned,
                Target::Verdict(jump) => usize::try_from(jump).ok(),
                Target::Other => None,
            };
            let Some(jump) = jump.filter(|jump| *jump != at) else {
                continue;
            };
            let end = self.walk(jump, packet, depth - 1, steps);
            if end != End::Returned || rule.goto {
                return end;
            }
        }
        End::Returned
    }

    fn rule(&self, at: usize) -> Option<Rule> {
        let layout = Layout::of(self.family);
        let bytes = self.rules.get(at..)?;
        let target = usize::from(u16_at(bytes, layout.offsets)?);
        let length = usize::from(u16_at(bytes, layout.offsets + 2)?);
        // Each rule leads on, or the walk would never end.
        if length < layout.size || target < layout.size || target > length {
            return None;
        }
        let body = bytes.get(..length)?;
        Some(Rule {
            length,
            goto: body.get(layout.flags)? & layout.goto != 0,
            sure: layout.no_other_condition(body)? && only_comments(&body[layout.size..target]),
            source: layout.net(body, 0)?,
            destination: layout.net(body, 1)?,
            target: Target::of(body.get(target..)?)?,
        })
    }
}

struct Rule {
    length: usize,
    goto: bool,
    /// It looks at nothing but addresses.
    sure: bool,
    source: (u128, u128),
    destination: (u128, u128),
    target: Target,
}

impl Rule {
    /// Whether it holds for every packet from, or to, a network.
    fn holds(&self, (side, network): (Side, IpNet)) -> bool {
        let (this, other) = match side {
            Side::Source => (self.source, self.destination),
            Side::Destination => (self.destination, self.source),
        };
        let covers = |(addr, mask): (u128, u128)| {
            let within = mask & !number(network.netmask()) == 0;
            within && number(network.network()) & mask == addr & mask
        };
        self.sure && covers(this) && other.1 == 0
    }
}

enum Target {
    Verdict(i32),
    Reject,
    End,
    Other,
}

impl Target {
    fn of(bytes: &[u8]) -> Option<Self> {
        Some(match name(bytes)? {
            b"" => Self::Verdict(i32::from_ne_bytes(
                bytes.get(HEADER..HEADER + 4)?.try_into().ok()?,
            )),
            b"REJECT" => Self::Reject,
            b"ERROR" => Self::End,
            _ => Self::Other,
        })
    }
}

/// Where things are in `struct ipt_entry` and `struct ip6t_entry`.
struct Layout {
    addr: usize,
    /// Interface names and their masks, then the protocol: all zero where the rule doesn't look at them.
    interfaces: usize,
    protocol: usize,
    flags: usize,
    goto: u8,
    inverted: usize,
    offsets: usize,
    size: usize,
}

impl Layout {
    fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                addr: 4,
                interfaces: 16,
                protocol: 80,
                flags: 82,
                goto: 2,
                inverted: 83,
                offsets: 88,
                size: 112,
            },
            Family::V6 => Self {
                addr: 16,
                interfaces: 64,
                protocol: 128,
                flags: 131,
                goto: 4,
                inverted: 132,
                offsets: 140,
                size: 168,
            },
        }
    }

    /// Masks of interface names, the protocol, and what is inverted.
    fn no_other_condition(&self, rule: &[u8]) -> Option<bool> {
        let masks = rule.get(self.interfaces + 32..self.interfaces + 64)?;
        let protocol = rule.get(self.protocol..self.protocol + 2)?;
        let plain = masks.iter().chain(protocol).all(|byte| *byte == 0);
        Some(plain && *rule.get(self.inverted)? == 0)
    }

    /// The first or second address with its mask: source, destination, source mask, destination mask.
    fn net(&self, rule: &[u8], index: usize) -> Option<(u128, u128)> {
        let number = |index: usize| {
            let bytes = rule.get(index * self.addr..(index + 1) * self.addr)?;
            let mut wide = [0; 16];
            wide[16 - self.addr..].copy_from_slice(bytes);
            Some(u128::from_be_bytes(wide))
        };
        Some((number(index)?, number(index + 2)?))
    }
}

/// Comments are conditions that always hold.
fn only_comments(mut matches: &[u8]) -> bool {
    while !matches.is_empty() {
        let length = u16_at(matches, 0).map_or(0, usize::from);
        if name(matches) != Some(b"comment") || length < HEADER {
            return false;
        }
        matches = matches.get(length..).unwrap_or_default();
    }
    true
}

fn name(header: &[u8]) -> Option<&[u8]> {
    let name = header.get(2..HEADER - 1)?;
    name.split(|byte| *byte == 0).next()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NETWORK: &str = "10.244.0.0/16";

    /// A rule for packets from and to these networks (`0.0.0.0/0` for any) with a verdict.
    fn rule(from: &str, to: &str, verdict: i32) -> Vec<u8> {
        let mut bytes = vec![0; 152];
        for (index, net) in [from, to].into_iter().enumerate() {
            let IpNet::V4(net) = net.parse().unwrap() else {
                panic!("IPv4");
            };
            bytes[index * 4..][..4].copy_from_slice(&net.network().octets());
            bytes[(index + 2) * 4..][..4].copy_from_slice(&net.netmask().octets());
        }
        bytes[88..90].copy_from_slice(&112_u16.to_ne_bytes());
        bytes[90..92].copy_from_slice(&152_u16.to_ne_bytes());
        bytes[112..114].copy_from_slice(&40_u16.to_ne_bytes());
        bytes[144..148].copy_from_slice(&verdict.to_ne_bytes());
        bytes
    }

    fn drops(rules: &[Vec<u8>]) -> bool {
        let table = LegacyTable {
            family: Family::V4,
            input: 0,
            forward: 0,
            rules: rules.concat(),
        };
        table.drops(NETWORK.parse().unwrap())
    }

    const ANY: &str = "0.0.0.0/0";

    #[test]
    fn the_policy_counts_unless_rules_accept_both_ways() {
        let policy = rule(ANY, ANY, DROP);
        assert!(drops(std::slice::from_ref(&policy)));
        assert!(!drops(&[rule(ANY, ANY, ACCEPT)]));
        let from = rule(NETWORK, ANY, ACCEPT);
        let to = rule(ANY, "10.0.0.0/8", ACCEPT);
        assert!(!drops(&[from.clone(), to.clone(), policy.clone()]));
        assert!(drops(&[from.clone(), policy.clone()]));
        assert!(drops(&[
            rule("10.244.1.0/24", ANY, ACCEPT),
            to.clone(),
            policy.clone()
        ]));
        let mut by_interface = from;
        by_interface[48..52].fill(0xff);
        assert!(drops(&[by_interface, to, policy]));
    }

    #[test]
    fn jumps_are_followed_and_come_back() {
        // FORWARD: a jump behind the policy; there a rule that accepts, or the way back.
        let forward = [rule(ANY, ANY, 304), rule(ANY, ANY, DROP)];
        let chain = |verdict| [&forward[..], &[rule(ANY, ANY, verdict)]].concat();
        assert!(!drops(&chain(ACCEPT)));
        assert!(drops(&chain(RETURN)));
        assert!(drops(&chain(DROP)));
        // A jump to itself, which the kernel would not take.
        assert!(!drops(&[rule(ANY, ANY, 0)]));
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(
            mut rules in proptest::collection::vec(any::<u8>(), 0..2000),
            spots in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..20),
            forward in 0..2000_usize,
            v6 in any::<bool>(),
        ) {
            if spots.len() > 5 {
                rules = [rule(ANY, ANY, 304), rule(NETWORK, ANY, ACCEPT), rule(ANY, ANY, DROP)].concat();
                for (at, byte) in &spots {
                    let len = rules.len();
                    rules[usize::from(*at) % len] = *byte;
                }
            }
            let family = if v6 { Family::V6 } else { Family::V4 };
            let network = if v6 { "fd00::/48" } else { NETWORK };
            let table = LegacyTable { family, input: 0, forward, rules };
            table.drops(network.parse().unwrap());
            let packet = crate::passage::Packet {
                family,
                port: Some(8472),
                source: Some(network.parse().unwrap()),
                destination: None,
                input: Some("eth0".to_owned()),
                new: true,
            };
            table.fate(forward, &packet, Some("x"));
        }
    }
}
