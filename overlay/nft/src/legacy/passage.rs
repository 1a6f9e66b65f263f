//! A walk through a table of legacy iptables with packets of one kind: what surely becomes of them.

use std::collections::BTreeMap;

use ipnet::IpNet;
use tweed_model::subnet::number;

use super::{HEADER, Layout, LegacyTable, Target, name, u16_at};
use crate::passage::{Chains, Fate, Holds, Packet, PassageVerdict, Step, fate};
use crate::xt;

/// Targets that decide nothing.
const HARMLESS: [&[u8]; 6] = [b"LOG", b"NFLOG", b"MARK", b"CONNMARK", b"TRACE", b"CT"];
/// What a rule may have inverted: the interface by which packets come, source, destination, protocol.
const INVERTED_INPUT: u8 = 1;
const INVERTED_SOURCE: u8 = 8;
const INVERTED_DESTINATION: u8 = 16;
const INVERTED_PROTOCOL: u8 = 64;

impl LegacyTable {
    /// What becomes of packets that enter at a place, such as [`LegacyTable::forward`]. Chains with this name count as
    /// empty.
    pub fn fate(&self, start: usize, packet: &Packet, without: Option<&str>) -> Fate {
        let names = self.chains();
        let empty = names
            .iter()
            .find(|(_, name)| Some(name.as_str()) == without);
        let mut walk = Walk {
            table: self,
            packet,
            empty: empty.map(|(at, _)| *at),
        };
        match packet.family == self.family {
            true => fate(&mut walk, start),
            false => Fate::Passes,
        }
    }

    /// Where chains that somebody made begin, by name: behind a rule that bears it.
    pub fn chains(&self) -> BTreeMap<usize, String> {
        let layout = Layout::of(self.family);
        let (mut found, mut at) = (BTreeMap::new(), 0);
        while let Some(rule) = self.rule(at) {
            let target = u16_at(&self.rules[at..], layout.offsets).map_or(0, usize::from);
            let end = at + rule.length;
            if matches!(rule.target, Target::End)
                && let Some(text) = self.rules.get(at + target + HEADER..end)
            {
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                found.insert(end, String::from_utf8_lossy(text).into_owned());
            }
            at = end;
        }
        found
    }
}

struct Walk<'a> {
    table: &'a LegacyTable,
    packet: &'a Packet,
    empty: Option<usize>,
}

impl Chains for Walk<'_> {
    type At = usize;

    fn rule(&mut self, at: &usize) -> Option<Step<usize>> {
        if self.empty == Some(*at) {
            return None;
        }
        let rule = self.table.rule(*at)?;
        let next = at + rule.length;
        let layout = Layout::of(self.table.family);
        let bytes = self.table.rules.get(*at..next)?;
        let target = usize::from(u16_at(bytes, layout.offsets)?);
        let verdict = match rule.target {
            Target::End => return None,
            Target::Verdict(super::ACCEPT) => PassageVerdict::Accept,
            Target::Verdict(super::DROP) | Target::Reject => PassageVerdict::Drop,
            Target::Verdict(super::RETURN) => PassageVerdict::Return,
            Target::Verdict(jump) => match usize::try_from(jump) {
                Ok(to) if to == next => PassageVerdict::Continue,
                Ok(to) if rule.goto => PassageVerdict::Goto(to),
                Ok(to) => PassageVerdict::Jump(to),
                Err(_) => PassageVerdict::Accept,
            },
            Target::Other => match HARMLESS.contains(&name(&bytes[target..])?) {
                true => PassageVerdict::Continue,
                false => PassageVerdict::Accept,
            },
        };
        let inverted = *bytes.get(layout.inverted)?;
        let holds = self
            .fixed(&layout, bytes, inverted)?
            .and(self.address(
                self.packet.source,
                rule.source,
                inverted & INVERTED_SOURCE != 0,
            ))
            .and(self.address(
                self.packet.destination,
                rule.destination,
                inverted & INVERTED_DESTINATION != 0,
            ))
            .and(self.matches(bytes.get(layout.size..target)?));
        Some(Step {
            holds,
            verdict,
            next,
        })
    }
}

impl Walk<'_> {
    /// Interfaces and protocol.
    fn fixed(&self, layout: &Layout, rule: &[u8], inverted: u8) -> Option<Holds> {
        const NAME: usize = 16;
        let known = INVERTED_INPUT | INVERTED_SOURCE | INVERTED_DESTINATION | INVERTED_PROTOCOL;
        let part = |index: usize| rule.get(layout.interfaces + index * NAME..)?.get(..NAME);
        let (input, input_mask, output_mask) = (part(0)?, part(2)?, part(3)?);
        let output = match output_mask.iter().all(|byte| *byte == 0) {
            true => Holds::Yes,
            false => Holds::Perhaps,
        };
        let others = match inverted & !known {
            0 => Holds::Yes,
            _ => Holds::Perhaps,
        };
        let input = self
            .comes_by(input, input_mask)
            .inverted(inverted & INVERTED_INPUT != 0);
        let protocol = match u16_at(rule, layout.protocol)? {
            0 => Holds::Yes,
            number if self.packet.port.is_some() => {
                Holds::of(number == u16::from(xt::UDP)).inverted(inverted & INVERTED_PROTOCOL != 0)
            }
            _ => Holds::Perhaps,
        };
        Some(input.and(output).and(protocol).and(others))
    }

    fn comes_by(&self, name: &[u8], mask: &[u8]) -> Holds {
        let length = mask.iter().take_while(|byte| **byte != 0).count();
        let wanted = &name[..length];
        let is = |there: &str| {
            let mut bytes = there.as_bytes().to_vec();
            bytes.resize(length.max(bytes.len()), 0);
            bytes.starts_with(wanted)
        };
        match &self.packet.input {
            _ if length == 0 => Holds::Yes,
            Some(_) if wanted == b"lo\0" => Holds::No,
            Some(input) if is(input) => Holds::Yes,
            _ => Holds::Perhaps,
        }
    }

    fn address(&self, of: Option<IpNet>, (addr, mask): (u128, u128), inverted: bool) -> Holds {
        let Some(net) = of else {
            return if mask == 0 {
                Holds::Yes
            } else {
                Holds::Perhaps
            };
        };
        let (ours, known) = (number(net.network()), number(net.netmask()));
        let holds = match mask & !known == 0 {
            _ if (ours ^ addr) & mask & known != 0 => Holds::No,
            true => Holds::Yes,
            false => Holds::Perhaps,
        };
        holds.inverted(inverted)
    }

    fn matches(&self, mut bytes: &[u8]) -> Holds {
        let mut holds = Holds::Yes;
        while !bytes.is_empty() {
            let length = u16_at(bytes, 0).map_or(0, usize::from);
            let (Some(this), Some(name)) = (bytes.get(..length), name(bytes)) else {
                return holds.and(Holds::Perhaps);
            };
            let (Some(revision), Some(info)) = (this.get(HEADER - 1), this.get(HEADER..)) else {
                return holds.and(Holds::Perhaps);
            };
            holds = holds.and(xt::holds(self.packet, name, *revision, info));
            bytes = &bytes[length..];
        }
        holds
    }
}
