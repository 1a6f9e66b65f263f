//! Rules that accept what containers send, and answers to them, in the chains of Go's `firewall`: `CNI-FORWARD`, which
//! iptables-nft's `FORWARD` jumps to. They are where a drop by policy is, as Docker sets it: no accept in another table
//! helps against that. Either plugin removes the other's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::NLM_F_APPEND;
use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError};
use tweed_nft::live::read::{self, RuleReading, comment_match, proto};
use tweed_nft::live::table::{Step, persist};
use tweed_nft::render::{
    IptablesMatch, Message, del_rule, iptables_chain, iptables_rule, iptables_table, rule_message,
};
use tweed_nft::ruleset::{Side, Verdict, addr_bytes};

use crate::{ForwardRecord, Isolation};

/// The table of iptables-nft in which the rules are.
pub const TABLE: &str = "filter";
const FORWARD: &str = "FORWARD";
const OWN: &str = "CNI-FORWARD";

/// The comments of the rules that lead there, and from there to the operator's own chain.
const TO_OWN: &str = "CNI firewall plugin rules";
const TO_ADMIN: &str = "CNI firewall plugin admin overrides";

/// The chains between which bridges are kept apart, and the comments of their rules.
const STAGES: [&str; 2] = ["CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"];
const ISOLATED: [&str; 3] = [FORWARD, STAGES[0], STAGES[1]];
const ISOLATION: &str = "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)";

/// `NF_DROP`, `NFT_JUMP`, `NFT_RETURN`.
const DROP: i32 = 0;
const JUMP: i32 = -3;
const RETURN: i32 = -5;

/// The rules as they were read last. Read again only when the packet filter has changed.
#[derive(Debug, Default)]
pub struct Forwarding {
    generation: Option<u32>,
    chains: BTreeMap<Family, Chains>,
}

impl Forwarding {
    /// Reads the chains, unless nothing has changed since.
    ///
    /// # Errors
    /// When the kernel refuses to say.
    pub fn look(&mut self, socket: &mut Netfilter) -> Result<(), KernelError> {
        let generation = read::generation(socket)?;
        if self.generation == Some(generation) {
            return Ok(());
        }
        for family in Family::BOTH {
            let chains = Chains::read(socket, family, &[FORWARD, OWN, STAGES[0], STAGES[1]])?;
            self.chains.insert(family, chains);
        }
        self.generation = Some(generation);
        Ok(())
    }

    /// Whether all rules of an attachment are there.
    pub fn has(&self, record: &ForwardRecord) -> bool {
        let of = by_family(&record.forwarded);
        of.iter().all(|(family, addrs)| {
            let Some(chains) = self.chains.get(family) else {
                return false;
            };
            let isolated = record.isolated.as_ref();
            chains.unaccepted(addrs).is_none()
                && isolated.is_none_or(|(bridge, how)| chains.isolation(bridge, *how).is_empty())
        })
    }
}

/// Puts all rules of an attachment.
///
/// # Errors
/// As [`accept`].
pub fn forward(socket: &mut Netfilter, record: &ForwardRecord) -> Result<(), KernelError> {
    accept(socket, &record.forwarded, &record.admin_chain)?;
    let Some((bridge, isolation)) = &record.isolated else {
        return Ok(());
    };
    let families: BTreeSet<Family> = record.forwarded.iter().map(Family::of).collect();
    isolate(socket, &families, bridge, *isolation)
}

/// Accepts what these addresses send, and the answers. `admin` is the operator's chain, which is asked first.
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn accept(
    socket: &mut Netfilter,
    addrs: &BTreeSet<IpAddr>,
    admin: &str,
) -> Result<(), KernelError> {
    change(socket, addrs, |chains, addrs| {
        let to_own = chains.jump(FORWARD, OWN, TO_OWN).into_iter();
        let mut messages: Vec<Message> = to_own.chain(chains.jump(OWN, admin, TO_ADMIN)).collect();
        for addr in addrs {
            let net = IpNet::from(*addr);
            let [answers, sends] = chains.accepts(*addr);
            let to = [
                IptablesMatch::Net(Side::Destination, net),
                IptablesMatch::Established,
            ];
            if !answers {
                messages.push(chains.rule(OWN, NLM_F_APPEND, &to, Verdict::Accept));
            }
            let from = [IptablesMatch::Net(Side::Source, net)];
            if !sends {
                messages.push(chains.rule(OWN, NLM_F_APPEND, &from, Verdict::Accept));
            }
        }
        chains.with_chains(&[OWN, admin], messages)
    })
}

/// Removes the rules of these addresses, be they Go's.
///
/// # Errors
/// As [`accept`].
pub fn unaccept(socket: &mut Netfilter, addrs: &BTreeSet<IpAddr>) -> Result<(), KernelError> {
    change(socket, addrs, |chains, addrs| {
        let place = (TABLE, OWN);
        let theirs = |rule: &&RuleReading| addrs.iter().any(|addr| is_of(rule, *addr));
        let rules = chains.of(OWN).iter().filter(theirs);
        rules
            .map(|rule| del_rule(proto(chains.family), place, rule.handle))
            .collect()
    })
}

/// The first of these addresses whose rules are not all there.
///
/// # Errors
/// When the kernel refuses to say.
pub fn unaccepted(
    socket: &mut Netfilter,
    addrs: &BTreeSet<IpAddr>,
) -> Result<Option<IpAddr>, KernelError> {
    for (family, addrs) in by_family(addrs) {
        let chains = Chains::read(socket, family, &[FORWARD, OWN])?;
        if let Some(addr) = chains.unaccepted(&addrs) {
            return Ok(Some(addr));
        }
    }
    Ok(None)
}

/// Keeps a bridge apart from others that are kept apart. It stays so: nobody knows which containers rely on it.
///
/// # Errors
/// As [`accept`].
pub fn isolate(
    socket: &mut Netfilter,
    families: &BTreeSet<Family>,
    bridge: &str,
    isolation: Isolation,
) -> Result<(), KernelError> {
    for family in families {
        persist(socket, |socket| {
            let generation = read::generation(socket)?;
            let chains = Chains::read(socket, *family, &ISOLATED)?;
            Ok(step(generation, chains.isolation(bridge, isolation)))
        })?;
    }
    Ok(())
}

/// Whether a bridge is kept apart.
///
/// # Errors
/// When the kernel refuses to say.
pub fn is_isolated(
    socket: &mut Netfilter,
    families: &BTreeSet<Family>,
    bridge: &str,
    isolation: Isolation,
) -> Result<bool, KernelError> {
    for family in families {
        let chains = Chains::read(socket, *family, &ISOLATED)?;
        if !chains.isolation(bridge, isolation).is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Some of a family's chains as they are.
#[derive(Debug)]
struct Chains {
    family: Family,
    /// Whether the table has the chain that packets come to.
    forwards: bool,
    rules: BTreeMap<&'static str, Vec<RuleReading>>,
    /// By address: whether answers to it are accepted, and what it sends.
    accepted: BTreeMap<Vec<u8>, [bool; 2]>,
}

impl Chains {
    fn read(
        socket: &mut Netfilter,
        family: Family,
        names: &[&'static str],
    ) -> Result<Self, NetlinkError> {
        let forwards = read::drops_by_default(socket, proto(family), TABLE, FORWARD)?.is_some();
        let mut rules = BTreeMap::new();
        for name in names {
            let list = match read::rules(socket, proto(family), TABLE, Some(name), None) {
                Err(error) if error.is_not_found() => Vec::new(),
                list => list?,
            };
            rules.insert(*name, list);
        }
        let mut accepted: BTreeMap<Vec<u8>, [bool; 2]> = BTreeMap::new();
        for rule in rules.get(OWN).into_iter().flatten() {
            let is_sent = rule.expression("match").is_none();
            for value in rule.compared() {
                accepted.entry(value.to_vec()).or_default()[usize::from(is_sent)] = true;
            }
        }
        Ok(Self {
            family,
            forwards,
            rules,
            accepted,
        })
    }

    fn of(&self, chain: &str) -> &[RuleReading] {
        self.rules.get(chain).map(Vec::as_slice).unwrap_or_default()
    }

    /// Rules that are to be added, behind what they need: the chains that they are in. Where these are there, nothing
    /// happens to them.
    fn with_chains(&self, chains: &[&str], rules: Vec<Message>) -> Vec<Message> {
        if rules.is_empty() {
            return rules;
        }
        let family = proto(self.family);
        let mut messages = Vec::new();
        if !self.forwards {
            messages.push(iptables_table(family, TABLE));
            messages.push(iptables_chain(family, (TABLE, FORWARD), true));
        }
        let chains = chains.iter();
        messages.extend(chains.map(|chain| iptables_chain(family, (TABLE, chain), false)));
        messages.extend(rules);
        messages
    }

    /// A rule at the head of a chain that leads to another, unless it is there.
    fn jump(&self, from: &str, to: &str, comment: &str) -> Option<Message> {
        let matches = [IptablesMatch::Comment(comment)];
        let is_there = has_comment(self.of(from), comment);
        (!is_there).then(|| self.rule(from, 0, &matches, Verdict::Jump(to.to_owned())))
    }

    fn rule(
        &self,
        chain: &str,
        place: u16,
        matches: &[IptablesMatch<'_>],
        verdict: Verdict,
    ) -> Message {
        let expressions = iptables_rule(self.family, matches, &verdict);
        let family = proto(self.family);
        rule_message(family, place, (TABLE, chain), expressions, Vec::new())
    }

    /// Whether answers to an address are accepted, and what it sends.
    fn accepts(&self, addr: IpAddr) -> [bool; 2] {
        let there = self.accepted.get(&addr_bytes(addr));
        there.copied().unwrap_or_default()
    }

    /// The first of these addresses whose rules are not all there.
    fn unaccepted(&self, addrs: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        let leads = has_comment(self.of(FORWARD), TO_OWN);
        let lacks = |addr: &&IpAddr| !leads || self.accepts(**addr) != [true, true];
        addrs.iter().find(lacks).copied()
    }

    /// What is missing of a bridge's isolation: to the second stage goes what leaves it, and there what goes to another
    /// such bridge is dropped.
    fn isolation(&self, bridge: &str, isolation: Isolation) -> Vec<Message> {
        let [first, second] = STAGES;
        let policy = isolation.policy();
        let comment = format!("CNI firewall plugin rules (ingressPolicy: {policy})");
        let out = |not| IptablesMatch::Out { not, name: bridge };
        let (by, about) = (IptablesMatch::In(bridge), IptablesMatch::Comment(&comment));
        let common = IptablesMatch::Comment(ISOLATION);
        let mut messages = Vec::new();
        let leads = |rule: &RuleReading| rule.verdict() == Some((JUMP, Some(first.to_owned())));
        if !self.of(FORWARD).iter().any(leads) {
            messages.push(self.rule(FORWARD, 0, &[common], Verdict::Jump(first.to_owned())));
        }
        let of_bridge = |chain: &str, code: i32| {
            let mut rules = self.of(chain).iter().filter(|rule| names(rule, bridge));
            rules.any(|rule| rule.verdict().is_some_and(|(verdict, _)| verdict == code))
        };
        if !of_bridge(first, JUMP) {
            let jump = Verdict::Jump(second.to_owned());
            messages.push(self.rule(first, 0, &[by, out(true), about], jump));
        }
        if isolation == Isolation::Isolated && !of_bridge(first, DROP) {
            messages.push(self.rule(first, 0, &[by, out(false), about], Verdict::Drop));
        }
        if !of_bridge(second, DROP) {
            messages.push(self.rule(second, 0, &[out(false), common], Verdict::Drop));
        }
        for stage in STAGES {
            let returns = |rule: &RuleReading| rule.verdict() == Some((RETURN, None));
            if !self.of(stage).iter().any(returns) {
                messages.push(self.rule(stage, NLM_F_APPEND, &[common], Verdict::Return));
            }
        }
        self.with_chains(&STAGES, messages)
    }
}

/// Reads and changes the chains of the addresses' families, each in one transaction.
fn change(
    socket: &mut Netfilter,
    addrs: &BTreeSet<IpAddr>,
    messages: impl Fn(&Chains, &BTreeSet<IpAddr>) -> Vec<Message>,
) -> Result<(), KernelError> {
    for (family, addrs) in by_family(addrs) {
        persist(socket, |socket| {
            let generation = read::generation(socket)?;
            let chains = Chains::read(socket, family, &[FORWARD, OWN])?;
            Ok(step(generation, messages(&chains, &addrs)))
        })?;
    }
    Ok(())
}

/// What was worked out from a reading holds as long as nobody has changed anything since.
fn step(generation: u32, messages: Vec<Message>) -> Option<Step> {
    (!messages.is_empty()).then_some((messages, Some(generation)))
}

fn by_family(addrs: &BTreeSet<IpAddr>) -> Vec<(Family, BTreeSet<IpAddr>)> {
    let of = |family| {
        let addrs = addrs.iter().filter(|addr| Family::of(addr) == family);
        (family, addrs.copied().collect::<BTreeSet<_>>())
    };
    let families = Family::BOTH.map(of).into_iter();
    families.filter(|(_, addrs)| !addrs.is_empty()).collect()
}

fn is_of(rule: &RuleReading, addr: IpAddr) -> bool {
    rule.compares_with(&addr_bytes(addr))
}

fn has_comment(rules: &[RuleReading], text: &str) -> bool {
    let comment = |rule: &RuleReading| {
        let comment = rule.comment().map(str::to_owned);
        comment.or_else(|| comment_match(rule))
    };
    rules
        .iter()
        .any(|rule| comment(rule).as_deref() == Some(text))
}

/// Whether a rule is about an interface: iptables compares its name and a zero byte, we all of the kernel's 16 bytes.
fn names(rule: &RuleReading, interface: &str) -> bool {
    let mut name = interface.as_bytes().to_vec();
    name.push(0);
    let short = rule.compares_with(&name);
    name.resize(16, 0);
    short || rule.compares_with(&name)
}
