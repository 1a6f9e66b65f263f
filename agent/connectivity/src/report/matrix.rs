//! The matrix of nodes, for people.

use std::collections::BTreeMap;

use tweed_model::Family;

use super::parts::{Cell, PathReport};
use crate::plan::Side;
use crate::words;

/// More nodes don't fit on a line; findings name what matters.
const WIDEST: usize = 16;

const KINDS: [(Side, Side, &str); 4] = [
    (Side::Pod, Side::Pod, "pods → pods"),
    (Side::Pod, Side::Node, "pods → nodes"),
    (Side::Node, Side::Pod, "nodes → pods"),
    (Side::Node, Side::Node, "nodes → nodes"),
];

/// The summary and the tables.
pub(super) fn render(report: &PathReport) -> String {
    let mut text = summary(report);
    if report.nodes.len() <= WIDEST {
        for (from, to, title) in KINDS {
            let cells: Vec<_> = report
                .ways
                .iter()
                .filter(|cell| cell.from.1 == from && cell.to.1 == to)
                .collect();
            if !cells.is_empty() {
                text.push('\n');
                text += &table(report, title, &cells);
            }
        }
        if !report.locals.is_empty() {
            text.push('\n');
            text += &locals(report);
        }
    }
    text
}

fn summary(report: &PathReport) -> String {
    let works = report
        .ways
        .iter()
        .filter(|cell| cell.fault.is_none())
        .count();
    let mut text = format!(
        "{} nodes, {works} of {} ways between them and their pods work",
        report.nodes.len(),
        report.ways.len()
    );
    let mut micros: Vec<_> = report.ways.iter().filter_map(|cell| cell.micros).collect();
    micros.sort_unstable();
    if let (Some(median), Some(longest)) = (micros.get(micros.len() / 2), micros.last()) {
        text += &format!(
            "; connections take {} ms (median), {} ms (longest)",
            millis(*median),
            millis(*longest)
        );
    }
    text.push('\n');
    if let Some(peers) = report.sampled {
        text += &format!(
            "a sample: each node has probed {peers} others of {} (--peers)\n",
            report.nodes.len() - 1
        );
    }
    text
}

fn millis(micros: u64) -> String {
    format!("{}.{}", micros / 1000, micros % 1000 / 100)
}

fn table(report: &PathReport, title: &str, cells: &[&Cell]) -> String {
    let mut by_pair: BTreeMap<(&str, &str), Vec<&Cell>> = BTreeMap::new();
    for cell in cells {
        let pair = (cell.from.0.as_str(), cell.to.0.as_str());
        by_pair.entry(pair).or_default().push(cell);
    }
    let heads = [title]
        .into_iter()
        .chain(report.nodes.iter().map(String::as_str));
    let mut rows = vec![heads.map(str::to_owned).collect::<Vec<_>>()];
    for from in &report.nodes {
        let cells =
            report
                .nodes
                .iter()
                .map(|to| match by_pair.get(&(from.as_str(), to.as_str())) {
                    Some(cells) => both(cells),
                    None => "-".to_owned(),
                });
        rows.push(std::iter::once(from.clone()).chain(cells).collect());
    }
    columns(&rows)
}

/// The families of one pair in one cell: the first fault, and in which family if not in both.
fn both(cells: &[&Cell]) -> String {
    let faults: Vec<_> = cells.iter().filter(|cell| cell.fault.is_some()).collect();
    match faults
        .first()
        .and_then(|cell| Some((cell.family, cell.fault.as_ref()?)))
    {
        None => "ok".to_owned(),
        Some((family, fault)) if faults.len() < cells.len() => {
            let family = match family {
                Family::V4 => "v4",
                Family::V6 => "v6",
            };
            format!("{} {family}", words::short(fault))
        }
        Some((_, fault)) => words::short(fault).to_owned(),
    }
}

fn locals(report: &PathReport) -> String {
    let mut targets: Vec<&str> = report
        .locals
        .iter()
        .map(|local| local.to.as_str())
        .collect();
    targets.sort_unstable();
    targets.dedup();
    let mut rows = vec![
        [""].iter()
            .chain(&targets)
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>(),
    ];
    for side in [Side::Pod, Side::Node] {
        for node in &report.nodes {
            let own: Vec<_> = report
                .locals
                .iter()
                .filter(|local| local.from == (node.clone(), side))
                .collect();
            if own.is_empty() {
                continue;
            }
            let cells =
                targets.iter().map(
                    |target| match own.iter().find(|local| local.to == *target) {
                        None => "-",
                        Some(local) if local.fault.is_none() => "ok",
                        Some(_) => "broken",
                    },
                );
            let head = words::place(side, node);
            rows.push(
                std::iter::once(head)
                    .chain(cells.map(str::to_owned))
                    .collect(),
            );
        }
    }
    columns(&rows)
}

/// Lines with columns two blanks apart, as wide as their widest cell.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  ", width = *width))
            .collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}
