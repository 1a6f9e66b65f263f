//! `docs/CNI-CONFORMANCE.md` has each case of upstream's suites and each difference from Go's plugins that the matrix
//! knows, names tests that exist, and counts right.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use serde_json::Value;
use tweed_house::{packages, root, rust_files};

const DOCUMENT: &str = "docs/CNI-CONFORMANCE.md";
const DATA: &str = "cni-plugin/tests/data";
/// What a case's result begins with; all but the first needs a reason.
const RESULTS: [&str; 4] = ["kept", "different", "not applicable", "open"];

/// A row of the table of cases.
struct Row {
    section: String,
    case: String,
    test: String,
    result: String,
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rows(text: &str) -> Vec<Row> {
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            section = heading.to_owned();
        } else if line.starts_with("## ") {
            section.clear();
        }
        let cells: Vec<&str> = line
            .split(" | ")
            .map(|cell| cell.trim_matches(['|', ' ']))
            .collect();
        match cells.as_slice() {
            [case, test, result]
                if !section.is_empty() && *case != "Case" && line.starts_with('|') =>
            {
                rows.push(Row {
                    section: section.clone(),
                    case: (*case).to_owned(),
                    test: test.trim_matches('`').to_owned(),
                    result: (*result).to_owned(),
                })
            }
            _ => {}
        }
    }
    rows
}

/// The files that have a test of a name, without their ending. A file `tests.rs` stands for its folder.
fn tests() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let parts = |package: String| ["src", "tests"].map(|part| format!("{package}/{part}"));
    for file in packages()
        .into_iter()
        .flat_map(parts)
        .flat_map(|part| rust_files(&root().join(part)))
    {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.with_extension("").display().to_string();
        let path = path.trim_end_matches("/tests").to_owned();
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            is_test |= line == "#[test]";
            if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
                let name = rest.split('(').next().unwrap_or(rest);
                found.entry(name.to_owned()).or_default().push(path.clone());
                is_test = false;
            }
        }
    }
    found
}

/// Whether there is the test that a row names by file and name: `bridge/config::defaults_are_those_of_the_reference`.
fn exists(test: &str, tests: &BTreeMap<String, Vec<String>>) -> bool {
    let Some((file, name)) = test.split_once("::") else {
        return false;
    };
    let paths = tests.get(name).into_iter().flatten();
    paths
        .into_iter()
        .any(|path| path.ends_with(&format!("/{file}")))
}

/// What is wrong with a row.
fn wrong(row: &Row, tests: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let (result, reason) = row.result.split_once(": ").unwrap_or((&row.result, ""));
    let says = match () {
        () if !RESULTS.contains(&result) => format!("the result is none of {RESULTS:?}"),
        () if result != RESULTS[0] && reason.is_empty() => "it needs a reason".to_owned(),
        () if row.test.is_empty() && RESULTS[..2].contains(&result) => "it needs a test".to_owned(),
        () if !row.test.is_empty() && !exists(&row.test, tests) => {
            format!("there is no test {}", row.test)
        }
        () => return None,
    };
    Some(format!("{}: {}: {says}", row.section, row.case))
}

/// The line of totals at the top of the page.
fn totals(rows: &[Row]) -> String {
    let count = |result: &str| {
        rows.iter()
            .filter(|row| row.result.starts_with(result))
            .count()
    };
    let [kept, different, not, open] = RESULTS.map(count);
    format!(
        "**{} cases: {kept} kept, {different} different, {not} not applicable, {open} open.**",
        rows.len()
    )
}

/// The differences that the matrix knows, as a table.
fn differences() -> String {
    let rows: Vec<Value> =
        serde_json::from_str(&read(&format!("{DATA}/differences.json"))).unwrap();
    let mut seen: Vec<(String, String)> = Vec::new();
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let plugin = if text("plugin") == "*" {
            "all".to_owned()
        } else {
            text("plugin")
        };
        if !seen.contains(&(plugin.clone(), text("why"))) {
            seen.push((plugin, text("why")));
        }
    }
    let mut table = "| Plugin | Difference |\n|---|---|\n".to_owned();
    for (plugin, why) in seen {
        let _ = writeln!(table, "| {plugin} | {why} |");
    }
    table
}

#[test]
fn every_case_of_upstream_has_its_row_with_a_test_or_a_reason() {
    let text = read(DOCUMENT);
    let (rows, tests) = (rows(&text), tests());
    let wrong: Vec<String> = rows.iter().filter_map(|row| wrong(row, &tests)).collect();
    assert!(wrong.is_empty(), "{DOCUMENT}:\n{}", wrong.join("\n"));
    let cases: BTreeMap<String, Vec<String>> =
        serde_json::from_str(&read(&format!("{DATA}/conformance.json"))).unwrap();
    let known: BTreeSet<(&str, &str)> = cases
        .iter()
        .flat_map(|(section, cases)| cases.iter().map(|case| (section.as_str(), case.as_str())))
        .collect();
    let written: BTreeSet<(&str, &str)> = rows
        .iter()
        .map(|row| (row.section.as_str(), row.case.as_str()))
        .collect();
    let missing: Vec<_> = known.symmetric_difference(&written).collect();
    assert!(
        missing.is_empty(),
        "in one of {DOCUMENT} and conformance.json alone: {missing:#?}"
    );
    assert_eq!(written.len(), rows.len(), "a case is there twice");
    let totals = totals(&rows);
    assert!(text.contains(&totals), "{DOCUMENT} must say: {totals}");
}

#[test]
fn every_difference_that_the_matrix_knows_is_on_the_page() {
    let table = differences();
    assert!(
        read(DOCUMENT).contains(&table),
        "{DOCUMENT} must have:\n{table}"
    );
}

#[test]
fn a_row_without_test_or_reason_is_noticed() {
    let tests = [("b".to_owned(), vec!["x/tests/a".to_owned()])].into();
    let text = "### x\n\n| Case | Test | Result |\n|---|---|---|\n| one | `a::b` | kept |\n| two | `a::c` | kept |\n\
                | three |  | not applicable |\n| four | `a::b` | broken |\n| five |  | kept |\n| six |  | not applicable: it is |\n";
    let rows = rows(text);
    assert_eq!(rows.len(), 6);
    let wrong: Vec<String> = rows.iter().filter_map(|row| wrong(row, &tests)).collect();
    let cases: Vec<&str> = wrong
        .iter()
        .map(|text| text.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(cases, ["two", "three", "four", "five"]);
    assert_eq!(
        totals(&rows),
        "**6 cases: 3 kept, 0 different, 2 not applicable, 0 open.**"
    );
}
