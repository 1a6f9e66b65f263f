//! Bad pairs by what they have in common: the node that most of them are with, and what is wrong with it. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;
use tweed_probe::health::State;

use super::pairs::{Id, Said, Seen};
use crate::daemon::probing::words;
use crate::operator::times::ago;

/// So many nodes of a group are named.
const NAMED: usize = 8;

/// What all nodes see.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether there is nothing bad.
    pub(super) ok: bool,
    /// How many nodes gave a view.
    views: usize,
    /// How many pairs are bad.
    bad_pairs: usize,
    /// Nodes whose agent doesn't answer.
    silent: Vec<String>,
    /// Nodes that others name and that gave no view.
    unseen: Vec<String>,
    groups: Vec<Group>,
}

/// Bad pairs with one node, or a single one.
#[derive(Debug, Serialize)]
struct Group {
    /// What they have in common.
    node: String,
    /// How many pairs that node has in all.
    of: usize,
    /// The others.
    with: Vec<String>,
    /// The worst of what is said.
    state: State,
    /// Since when, in seconds since 1970: the first time that one of them was bad.
    since: u64,
    /// What that means.
    note: Option<String>,
    /// By whom it is said.
    side: Side,
}

/// Which sides of the pairs say that something is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Side {
    /// The node that they have in common.
    Node,
    Others,
    Both,
}

impl Report {
    pub(super) fn of(seen: &Seen) -> Self {
        let mut left: Vec<(&(Id, Id), &Vec<Said>)> = seen.bad.iter().collect();
        let mut groups = Vec::new();
        while let Some(node) = most_frequent(&left) {
            let (with, rest): (Vec<_>, Vec<_>) = left
                .into_iter()
                .partition(|((a, b), _)| *a == node || *b == node);
            groups.push(Group::of(seen, &node, &with));
            left = rest;
        }
        let names = |nodes: &mut dyn Iterator<Item = &Id>| -> Vec<String> {
            nodes.map(|node| seen.name(node)).collect()
        };
        let known = |node: &&Id| seen.views.contains_key(*node) || seen.silent.contains(*node);
        Self {
            ok: groups.is_empty() && seen.silent.is_empty(),
            views: seen.views.len(),
            bad_pairs: seen.bad.len(),
            silent: names(&mut seen.silent.iter()),
            unseen: names(&mut seen.nodes.keys().filter(|node| !known(node))),
            groups,
        }
    }

    /// The same in words, at a time in seconds since 1970.
    pub(super) fn text(&self, now: u64) -> String {
        let views = match self.views {
            1 => "1 node".to_owned(),
            many => format!("{many} nodes"),
        };
        let mut text = match self.bad_pairs {
            0 => format!("as {views} see it, all nodes answer each other\n"),
            1 => format!("as {views} see it, 1 pair is bad\n"),
            bad => format!("as {views} see it, {bad} pairs are bad\n"),
        };
        for node in &self.silent {
            text += &format!("no agent answers on {node}\n");
        }
        for group in &self.groups {
            text += &group.text(now);
        }
        if !self.unseen.is_empty() {
            text += &format!("no view of {}\n", few(&self.unseen));
        }
        text
    }
}

/// The node of most pairs; of a single pair the one of which more is said.
fn most_frequent(pairs: &[(&(Id, Id), &Vec<Said>)]) -> Option<Id> {
    let mut counts: BTreeMap<&Id, (usize, usize)> = BTreeMap::new();
    for ((a, b), said) in pairs {
        for node in [a, b] {
            let count = counts.entry(node).or_default();
            count.0 += 1;
            count.1 += said.iter().filter(|said| said.by != *node).count();
        }
    }
    let most = counts
        .into_iter()
        .max_by_key(|(node, count)| (*count, Reverse(*node)));
    most.map(|(node, _)| node.clone())
}

impl Group {
    fn of(seen: &Seen, node: &Id, pairs: &[(&(Id, Id), &Vec<Said>)]) -> Self {
        let other = |(a, b): &(Id, Id)| seen.name(if a == node { b } else { a });
        let said = || pairs.iter().flat_map(|(_, said)| said.iter());
        let worst = said().max_by_key(|said| (said.state, Reverse(said.since)));
        let by_node = said().any(|said| said.by == *node);
        let by_others = said().any(|said| said.by != *node);
        Self {
            node: seen.name(node),
            of: seen.pairs_of(node).max(pairs.len()),
            with: pairs.iter().map(|(pair, _)| other(pair)).collect(),
            state: worst.map_or(State::Unknown, |said| said.state),
            since: said().map(|said| said.since).min().unwrap_or_default(),
            note: worst.and_then(|said| said.note.clone()),
            side: match (by_node, by_others) {
                (true, true) => Side::Both,
                (true, false) => Side::Node,
                (false, _) => Side::Others,
            },
        }
    }

    fn text(&self, now: u64) -> String {
        let bad = self.with.len();
        let which = match (bad, bad == self.of) {
            (1, _) => format!("{} and {}", self.node, self.with[0]),
            (_, true) => format!("all {bad} pairs with {}", self.node),
            (_, false) => format!("{bad} of {} pairs with {}", self.of, self.node),
        };
        let state = words::state(self.state);
        let mut text = format!("\n{which}: {state}, for {}\n", ago(self.since, now));
        if let Some(note) = &self.note {
            text += &format!("  {note}\n");
        }
        text += match self.side {
            Side::Both => "  both sides say so\n",
            Side::Node => "  it says so itself; the others don't\n",
            Side::Others => "  the others say so; it doesn't, or gave no view\n",
        };
        if bad > 1 && bad < self.of {
            text += &format!("  with {}\n", few(&self.with));
        }
        text
    }
}

/// The first of many names.
fn few(names: &[String]) -> String {
    let named = names.iter().take(NAMED).map(String::as_str);
    let named: Vec<&str> = named.collect();
    let more = names.len() - named.len();
    match more {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests;
