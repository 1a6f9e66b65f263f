//! One rule's expressions, as far as they look at what is known of a packet.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::lookup::{Found, Set};
use crate::live::read::{RuleReading, attribute, text};
use crate::passage::{Holds, Packet, PassageVerdict};
use crate::xt;
use tweed_model::Family;

/// Names of expressions that decide nothing.
const HARMLESS: [&str; 4] = ["counter", "log", "notrack", "quota"];
/// Targets of iptables that decide nothing.
const TARGETS: [&[u8]; 6] = [b"LOG", b"NFLOG", b"MARK", b"CONNMARK", b"TRACE", b"CT"];

type At = (String, usize);

/// What stands in a register.
#[derive(Clone)]
enum Value {
    /// Bytes, and which of their bits are known.
    Bits(Vec<u8>, Vec<u8>),
    /// The name of the interface by which the packet comes.
    Input,
    InputNumber,
}

impl Value {
    fn known(bytes: &[u8]) -> Self {
        Self::Bits(bytes.to_vec(), vec![0xff; bytes.len()])
    }
}

/// Whether the rule holds, and what it does then.
pub(super) fn judge(
    rule: &RuleReading,
    packet: &Packet,
    sets: &mut dyn FnMut(&str) -> Option<Rc<Set>>,
) -> (Holds, PassageVerdict<At>) {
    let mut judge = Judge {
        packet,
        registers: BTreeMap::new(),
        holds: Holds::Yes,
        verdict: PassageVerdict::Continue,
    };
    for (name, data) in rule.expressions() {
        if judge.holds == Holds::No {
            break;
        }
        if judge.take(&name, data, sets).is_none() && !HARMLESS.contains(&name.as_str()) {
            judge.and(Holds::Perhaps);
        }
    }
    (judge.holds, judge.verdict)
}

struct Judge<'a> {
    packet: &'a Packet,
    registers: BTreeMap<u32, Value>,
    holds: Holds,
    verdict: PassageVerdict<At>,
}

impl Judge<'_> {
    fn and(&mut self, holds: Holds) {
        self.holds = self.holds.and(holds);
    }

    /// None where it can't be told what the expression does.
    fn take(
        &mut self,
        name: &str,
        data: &[u8],
        sets: &mut dyn FnMut(&str) -> Option<Rc<Set>>,
    ) -> Option<()> {
        let number = |kind| number(data, kind);
        match name {
            "meta" | "payload" | "ct" => {
                let Some(register) = number(1) else {
                    // It writes into the packet or its mark.
                    return Some(());
                };
                self.registers.remove(&register);
                if let Some(value) = self.load(name, data) {
                    self.registers.insert(register, value);
                }
                Some(())
            }
            "bitwise" => self.bitwise(data),
            "cmp" => {
                let value = self.registers.get(&number(1)?)?;
                let holds = compare(value, number(2)?, datum(data, 3)?, self.packet)?;
                self.and(holds);
                Some(())
            }
            "lookup" => self.look_up(data, sets),
            "immediate" => self.immediate(data),
            "reject" => {
                self.verdict = PassageVerdict::Drop;
                Some(())
            }
            "match" => {
                let name = attribute(data, 1)?;
                let name = name.split(|byte| *byte == 0).next()?;
                let revision = u8::try_from(number(2)?).ok()?;
                self.and(xt::holds(self.packet, name, revision, attribute(data, 3)?));
                Some(())
            }
            "target" => {
                let name = attribute(data, 1)?;
                let name = name.split(|byte| *byte == 0).next()?;
                match name {
                    b"REJECT" => self.verdict = PassageVerdict::Drop,
                    name if TARGETS.contains(&name) => {}
                    _ => self.verdict = PassageVerdict::Accept,
                }
                Some(())
            }
            _ => None,
        }
    }

    fn load(&self, name: &str, data: &[u8]) -> Option<Value> {
        let number = |kind| number(data, kind);
        let v4 = self.packet.family == Family::V4;
        let udp = self.packet.port.map(|_| Value::known(&[xt::UDP]));
        match (name, number(2)?) {
            ("meta", 1) => Some(Value::known(if v4 { &[8, 0] } else { &[0x86, 0xdd] })),
            ("meta", 4) => self.packet.input.as_ref().map(|_| Value::InputNumber),
            ("meta", 6) => self.packet.input.as_ref().map(|_| Value::Input),
            ("meta", 15) => Some(Value::known(&[if v4 { 2 } else { 10 }])),
            ("meta", 16) => udp,
            ("ct", 0) if self.packet.new => Some(Value::known(&xt::NEW.to_ne_bytes())),
            // Translated addresses, of which there are none; what else stands there isn't known.
            ("ct", 2) => Some(Value::Bits(vec![0; 4], 0x30_u32.to_ne_bytes().to_vec())),
            ("payload", base) => {
                let (offset, length) = (number(3)?, usize::try_from(number(4)?).ok()?);
                let of = |net: Option<ipnet::IpNet>| {
                    let net = net?;
                    let bytes = crate::ruleset::addr_bytes(net.network());
                    let mask = crate::ruleset::addr_bytes(net.netmask());
                    Some(Value::Bits(
                        bytes.get(..length)?.to_vec(),
                        mask[..length].to_vec(),
                    ))
                };
                match (base, offset, v4) {
                    (1, 12, true) | (1, 8, false) => of(self.packet.source),
                    (1, 16, true) | (1, 24, false) => of(self.packet.destination),
                    (1, 9, true) | (1, 6, false) if length == 1 => udp,
                    (2, 2, _) if length == 2 => self
                        .packet
                        .port
                        .map(|port| Value::known(&port.to_be_bytes())),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn bitwise(&mut self, data: &[u8]) -> Option<()> {
        let (from, to) = (number(data, 1)?, number(data, 2)?);
        let value = self.registers.get(&from).cloned();
        self.registers.remove(&to);
        let plain = number(data, 6).unwrap_or(0) == 0;
        let (mask, xor) = (datum(data, 4)?, datum(data, 5)?);
        let (bytes, known) = match value {
            Some(Value::Bits(bytes, known)) if plain => (bytes, known),
            _ => (vec![0; mask.len()], vec![0; mask.len()]),
        };
        if bytes.len() != mask.len() || xor.len() != mask.len() {
            return None;
        }
        let each = |index: usize| (bytes[index] & mask[index]) ^ xor[index];
        let result = (0..mask.len()).map(each).collect();
        // What the mask takes away is known.
        let known = known.iter().zip(mask).map(|(known, mask)| known | !mask);
        self.registers
            .insert(to, Value::Bits(result, known.collect()));
        Some(())
    }

    fn look_up(
        &mut self,
        data: &[u8],
        sets: &mut dyn FnMut(&str) -> Option<Rc<Set>>,
    ) -> Option<()> {
        let inverted = number(data, 5).unwrap_or(0) & 1 != 0;
        let map = number(data, 3);
        let known = match self.registers.get(&number(data, 2)?) {
            Some(Value::Bits(bytes, known)) if known.iter().all(|byte| *byte == 0xff) => {
                Some(bytes.clone())
            }
            _ => None,
        };
        let set = known.and_then(|key| Some((sets(&text(attribute(data, 1)?))?, key)));
        let found = set.and_then(|(set, key)| set.find(&key));
        match (found, map) {
            (None, Some(0)) => {
                // Any of the map's verdicts.
                self.verdict = PassageVerdict::Accept;
                self.and(Holds::Perhaps);
            }
            (None, _) => self.and(Holds::Perhaps),
            (Some(found), None) => {
                let holds = Holds::of(!matches!(found, Found::Nothing));
                self.and(holds.inverted(inverted));
            }
            (Some(Found::Nothing), Some(_)) => self.and(Holds::No),
            (Some(Found::Verdict(code, chain)), Some(0)) => self.decide(code, chain),
            (Some(_), Some(register)) => {
                self.registers.remove(&register);
            }
        }
        Some(())
    }

    fn immediate(&mut self, data: &[u8]) -> Option<()> {
        let register = number(data, 1)?;
        let verdict = attribute(attribute(data, 2)?, 2);
        match verdict.filter(|_| register == 0) {
            Some(verdict) => {
                let code = number(verdict, 1)?.cast_signed();
                self.decide(code, attribute(verdict, 2).map(text));
            }
            None => {
                let value = datum(data, 2)?;
                self.registers.insert(register, Value::known(value));
            }
        }
        Some(())
    }

    fn decide(&mut self, code: i32, chain: Option<String>) {
        let chain = chain.map(|chain| (chain, 0));
        self.verdict = match (code, chain) {
            (0, _) => PassageVerdict::Drop,
            (-1, _) => PassageVerdict::Continue,
            (-3, Some(chain)) => PassageVerdict::Jump(chain),
            (-4, Some(chain)) => PassageVerdict::Goto(chain),
            (-5, _) => PassageVerdict::Return,
            _ => PassageVerdict::Accept,
        };
    }
}

/// The bytes of a nested value.
fn datum(data: &[u8], kind: u16) -> Option<&[u8]> {
    attribute(attribute(data, kind)?, 1)
}

fn number(data: &[u8], kind: u16) -> Option<u32> {
    let bytes = attribute(data, kind)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// Equal, unequal, less, less or equal, greater, greater or equal.
fn compare(value: &Value, operation: u32, with: &[u8], packet: &Packet) -> Option<Holds> {
    let (bytes, known) = match value {
        Value::Bits(bytes, known) => (bytes, known),
        // The number of `lo` is 1 wherever there is a network.
        Value::InputNumber => {
            let lo = with == 1_u32.to_ne_bytes();
            let is = if lo { Holds::No } else { Holds::Perhaps };
            return (operation < 2).then(|| is.inverted(operation == 1));
        }
        Value::Input => {
            let is = comes_by(packet.input.as_deref()?, with);
            return (operation < 2).then(|| is.inverted(operation == 1));
        }
    };
    let length = with.len().min(bytes.len());
    let all = known[..length].iter().all(|byte| *byte == 0xff);
    let differ = (0..length).any(|at| (bytes[at] ^ with[at]) & known[at] != 0);
    let (ours, theirs) = (&bytes[..length], &with[..length]);
    Some(match operation {
        0 | 1 if differ => Holds::No.inverted(operation == 1),
        0 | 1 if all => Holds::Yes.inverted(operation == 1),
        2 if all => Holds::of(ours < theirs),
        3 if all => Holds::of(ours <= theirs),
        4 if all => Holds::of(ours > theirs),
        5 if all => Holds::of(ours >= theirs),
        _ => Holds::Perhaps,
    })
}

/// A name with its closing zero, or the beginning of names without.
fn comes_by(input: &str, wanted: &[u8]) -> Holds {
    let whole = wanted.contains(&0);
    let wanted = wanted.split(|byte| *byte == 0).next().unwrap_or_default();
    let is = match whole {
        true => input.as_bytes() == wanted,
        false => input.as_bytes().starts_with(wanted),
    };
    match is {
        true => Holds::Yes,
        false if wanted == b"lo" && whole => Holds::No,
        false => Holds::Perhaps,
    }
}
