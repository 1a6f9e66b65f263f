//! Rings of a graph.

use std::collections::{BTreeMap, BTreeSet};

/// The sets of two or more nodes of which each reaches each other one.
pub(crate) fn rings(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|node| (node, reach(graph, node)))
        .collect();
    let mut rings: BTreeSet<Vec<String>> = BTreeSet::new();
    for (node, others) in &reached {
        let mutual = others
            .iter()
            .filter(|other| reached[**other].contains(*node));
        let ring: BTreeSet<String> = mutual.map(|other| (*other).clone()).collect();
        if ring.len() > 1 {
            rings.insert(ring.into_iter().collect());
        }
    }
    rings.into_iter().collect()
}

fn reach<'g>(graph: &'g BTreeMap<String, BTreeSet<String>>, from: &String) -> BTreeSet<&'g String> {
    let mut found = BTreeSet::new();
    let mut ahead: Vec<&String> = graph[from].iter().collect();
    while let Some(node) = ahead.pop() {
        if found.insert(node) {
            ahead.extend(&graph[node]);
        }
    }
    found
}
