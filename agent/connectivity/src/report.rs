//! The report: findings in words, grouped so that one cause is one line, and the matrix. Pure.

use std::collections::{BTreeMap, BTreeSet};

use tweed_model::Family;

use super::judge::{Fault, Judgement, PathResult, Survey, judge};
use super::plan::{Endpoint, Side};
use super::words::{self, Scope};

mod matrix;
mod parts;

pub use parts::{Cell, Finding, LocalCell, PathReport};

/// People don't read more findings than these.
const LONGEST: usize = 40;

impl PathReport {
    /// Judges a survey and reports.
    pub fn of(survey: &Survey) -> Self {
        let judgement = judge(survey);
        let endpoints = &survey.cluster.endpoints;
        let end = |index: usize| (endpoints[index].node.clone(), endpoints[index].side);
        let nodes: Vec<String> = survey
            .cluster
            .nodes()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut findings = unreachable(survey, &judgement);
        findings.extend(between(endpoints, &judgement.ways));
        findings.extend(locally(endpoints, &judgement));
        Self {
            ok: findings.is_empty(),
            sampled: (survey.peers + 1 < nodes.len()).then_some(survey.peers),
            nodes,
            ways: judgement
                .ways
                .iter()
                .map(|way| Cell {
                    from: end(way.from),
                    to: end(way.to),
                    family: way.family,
                    micros: way.micros,
                    fault: way.fault.clone(),
                    explained: way.explained,
                })
                .collect(),
            locals: judgement
                .locals
                .iter()
                .map(|local| LocalCell {
                    from: end(local.from),
                    to: words::target(&local.what),
                    fault: local.fault.clone(),
                })
                .collect(),
            findings,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = matrix::render(self);
        for finding in self.findings.iter().take(LONGEST) {
            text += &format!("\n{}: {}\n", finding.place, finding.what);
            text += &format!("  look at: {}\n", finding.hint);
        }
        if self.findings.len() > LONGEST {
            let more = self.findings.len() - LONGEST;
            text += &format!("\nand {more} findings more: --output=json has them all\n");
        }
        text
    }
}

/// Responders that aren't ready, or can't be asked.
fn unreachable(survey: &Survey, judgement: &Judgement) -> Vec<Finding> {
    let missing = survey
        .cluster
        .missing
        .iter()
        .map(|(node, side, reason)| Finding {
            place: words::place(*side, node),
            what: format!("not tested: the responder isn't ready ({reason})"),
            hint: "kubectl -n kube-tweed-connectivity describe daemonsets,pods".to_owned(),
        });
    let unasked = judgement.unasked.iter().map(|(index, reason)| {
        let end = &survey.cluster.endpoints[*index];
        Finding {
            place: words::place(end.side, &end.node),
            what: format!("what they see is unknown: the test can't ask them ({reason})"),
            hint: format!(
                "whether others reach them, below; `tweedd status` on {}",
                end.node
            ),
        }
    });
    let unfinished = judgement.unfinished.iter().map(|(index, left)| {
        let end = &survey.cluster.endpoints[*index];
        Finding {
            place: words::place(end.side, &end.node),
            what: format!("not all tested: there was no time for {left} addresses"),
            hint: "what is broken already; then test with fewer --peers".to_owned(),
        }
    });
    missing.chain(unasked).chain(unfinished).collect()
}

/// Ways by what is wrong with them: fault, kinds of ends, families.
type Alike = (Side, Side, bool, Option<bool>, Fault, Vec<Family>);

fn between(endpoints: &[Endpoint], ways: &[PathResult]) -> Vec<Finding> {
    // First the families of one way: one line if it is the same fault.
    let mut families: BTreeMap<(usize, usize, &Fault), Vec<Family>> = BTreeMap::new();
    for way in ways.iter().filter(|way| !way.explained) {
        if let Some(fault) = &way.fault {
            families
                .entry((way.from, way.to, fault))
                .or_default()
                .push(way.family);
        }
    }
    // Then the ways that suffer alike.
    let mut alike: BTreeMap<Alike, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for ((from, to, fault), families) in families {
        let (from, to) = (&endpoints[from], &endpoints[to]);
        let same = from.node == to.node;
        let below = below(endpoints, ways, &from.node, &to.node);
        let key = (from.side, to.side, same, below, fault.clone(), families);
        alike.entry(key).or_default().insert((&from.node, &to.node));
    }
    let mut findings: Vec<(Fault, Finding)> = Vec::new();
    for ((from_side, to_side, same_node, below, fault, families), pairs) in alike {
        let scope = Scope {
            from: from_side,
            to: to_side,
            same_node,
            below,
            v6: families == [Family::V6],
        };
        let tested = tested(endpoints, ways, from_side, to_side);
        for (from, to) in grouped(pairs, &tested) {
            let families = families_in(&families, endpoints);
            let place = format!(
                "{} → {}{families}",
                words::place(from_side, &from),
                words::place(to_side, &to)
            );
            let finding = Finding {
                place,
                what: words::what(&fault),
                hint: words::hint(&fault, scope, &from, &to),
            };
            findings.push((fault.clone(), finding));
        }
    }
    // Where nothing passes first, and pods before nodes.
    findings.sort_by_key(|(fault, _)| fault.rank());
    findings.into_iter().map(|(_, finding)| finding).collect()
}

/// Said only where both families are there and one of them is well.
fn families_in(families: &[Family], endpoints: &[Endpoint]) -> String {
    let both = Family::BOTH.iter().all(|family| {
        let mut all = endpoints.iter();
        all.any(|end| end.addr(*family).is_some())
    });
    match families {
        [one] if both => format!(", {one} only"),
        _ => String::new(),
    }
}

/// Whether two nodes reach each other without the overlay, in any family; `None` where that wasn't tried.
fn below(endpoints: &[Endpoint], ways: &[PathResult], from: &str, to: &str) -> Option<bool> {
    let mut tried = ways.iter().filter(|way| {
        let ends = [(way.from, from), (way.to, to)];
        ends.iter().all(|(index, node)| {
            let end = &endpoints[*index];
            end.side == Side::Node && end.node == *node
        })
    });
    let first = tried.next()?;
    Some(
        std::iter::once(first)
            .chain(tried)
            .any(|way| way.micros.is_some()),
    )
}

/// The pairs of different nodes that were tried.
fn tested<'a>(
    endpoints: &'a [Endpoint],
    ways: &[PathResult],
    from: Side,
    to: Side,
) -> BTreeSet<(&'a str, &'a str)> {
    let ends = ways
        .iter()
        .map(|way| (&endpoints[way.from], &endpoints[way.to]));
    ends.filter(|(one, other)| one.side == from && other.side == to && one.node != other.node)
        .map(|(one, other)| (one.node.as_str(), other.node.as_str()))
        .collect()
}

/// Several pairs in one word, where a node suffers towards, or from, all others that were tried.
fn grouped(
    mut pairs: BTreeSet<(&str, &str)>,
    tested: &BTreeSet<(&str, &str)>,
) -> Vec<(String, String)> {
    let mut groups = Vec::new();
    if tested.len() > 2 && pairs == *tested {
        return vec![("every node".to_owned(), "every other node".to_owned())];
    }
    let nodes: BTreeSet<_> = tested.iter().flat_map(|(from, to)| [*from, *to]).collect();
    for node in nodes {
        for outward in [true, false] {
            let concerned = |(from, to): &&(&str, &str)| node == if outward { *from } else { *to };
            let all: BTreeSet<_> = tested.iter().filter(concerned).copied().collect();
            if all.len() > 1 && all.is_subset(&pairs) {
                pairs.retain(|pair| !all.contains(pair));
                let (node, others) = (node.to_owned(), "every other node".to_owned());
                groups.push(if outward {
                    (node, others)
                } else {
                    (others, node)
                });
            }
        }
    }
    let single = pairs
        .into_iter()
        .map(|(from, to)| (from.to_owned(), to.to_owned()));
    groups.extend(single);
    groups
}

/// Services and resolvers.
fn locally(endpoints: &[Endpoint], judgement: &Judgement) -> Vec<Finding> {
    let mut alike: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for local in &judgement.locals {
        if let Some(fault) = &local.fault {
            let end = &endpoints[local.from];
            // What answers is in pods, and perhaps in those that aren't reached.
            let ways = judgement.ways.iter().any(|way| {
                way.from == local.from && endpoints[way.to].side == Side::Pod && way.fault.is_some()
            });
            alike
                .entry((end.side, &local.what, fault, ways))
                .or_default()
                .insert(&end.node);
        }
    }
    let finding = |((side, what, fault, ways), nodes): ((Side, _, &String, _), BTreeSet<&str>)| {
        let all = endpoints.iter().filter(|end| end.side == side);
        let all: BTreeSet<_> = all.map(|end| end.node.as_str()).collect();
        let nodes = match nodes == all && nodes.len() > 1 {
            true => "every node".to_owned(),
            false => nodes.into_iter().collect::<Vec<_>>().join(", "),
        };
        Finding {
            place: format!("{} → {}", words::place(side, &nodes), words::target(what)),
            what: fault.clone(),
            hint: words::local_hint(what, &nodes, ways),
        }
    };
    alike.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests;
