//! The documents and the tree agree: links lead to files and headings that exist, every path of the tree that is
//! mentioned is there, every crate has a page, and every make target is one.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tweed_house::{documents, pages, root};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines, numbered from 1, with whether they are inside of a code block.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fence).then_some((index + 1, line, fenced))
    })
}

fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    lines(text).filter_map(|(number, line, fenced)| (!fenced).then_some((number, line)))
}

/// Lines of code blocks, and what stands in backticks elsewhere.
fn code(text: &str) -> impl Iterator<Item = &str> {
    lines(text).flat_map(|(_, line, fenced)| {
        let (whole, spans) = if fenced { (line, "") } else { ("", line) };
        std::iter::once(whole).chain(spans.split('`').skip(1).step_by(2))
    })
}

/// The targets of the Markdown links in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let starts = line.match_indices("](").map(|(at, mark)| at + mark.len());
    starts.filter_map(|start| line[start..].split_once(')').map(|(target, _)| target))
}

/// A heading as GitHub names it in links.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_heading(path: &Path, wanted: &str) -> bool {
    let text = read(path);
    prose(&text).any(|(_, line)| line.starts_with('#') && anchor(line) == wanted)
}

/// Why a link in a document leads nowhere.
fn broken(document: &Path, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => document.to_owned(),
        _ => document.parent()?.join(file),
    };
    if !path.exists() {
        return Some(format!("{file} does not exist"));
    }
    let missing = !heading.is_empty() && !has_heading(&path, heading);
    missing.then(|| format!("{} has no heading #{heading}", path.display()))
}

fn broken_links(document: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for target in links(line) {
            let why = broken(document, target);
            found.extend(why.map(|why| format!("{}:{number}: {why}", document.display())));
        }
    }
    found
}

/// The files and folders that a crate's page names: what stands in backticks in the second column of its tables, and
/// elsewhere what ends in `.rs`.
fn page_paths(text: &str) -> Vec<&str> {
    let spans = |text| str::split(text, '`').skip(1).step_by(2);
    let mut found = Vec::new();
    for (_, line) in prose(text) {
        let row = line.starts_with('|');
        let column = row.then(|| line.split('|').nth(2)).flatten();
        found.extend(column.into_iter().flat_map(spans));
        found.extend(spans(line).filter(|span| !row && span.ends_with(".rs")));
    }
    found
}

/// What begins with a folder of the top level, in code. Not what a build makes.
fn mentioned_paths(text: &str) -> BTreeSet<&str> {
    const TOP: [&str; 7] = [
        "overlay/",
        "agent/",
        "cni-plugin/",
        "e2e/",
        "manifests/",
        "docs/",
        ".ci/",
    ];
    let words = code(text).flat_map(str::split_whitespace);
    words
        .filter(|word| TOP.iter().any(|top| word.starts_with(top)))
        .collect()
}

/// The words after `make ` at the beginning of code.
fn make_targets(text: &str) -> BTreeSet<&str> {
    let commands = code(text).filter_map(|code| code.trim_start().strip_prefix("make "));
    commands
        .filter_map(|words| words.split_whitespace().next())
        .collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let found: Vec<String> = documents()
        .iter()
        .flat_map(|path| broken_links(path, &read(path)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn architecture_leads_to_a_page_of_every_crate() {
    let document = root().join("docs/ARCHITECTURE.md");
    let text = read(&document);
    let links: BTreeSet<&str> = prose(&text).flat_map(|(_, line)| links(line)).collect();
    for page in pages() {
        assert!(page.exists(), "{} is missing", page.display());
        let relative = page.strip_prefix(root()).unwrap().display().to_string();
        let is_linked = links.contains(format!("../{relative}").as_str());
        let is_part = relative.starts_with("e2e/"); // That page leads to its own parts.
        assert!(
            is_linked || is_part,
            "docs/ARCHITECTURE.md does not link {relative}"
        );
    }
}

#[test]
fn every_file_that_a_page_names_exists() {
    let mut missing = Vec::new();
    for page in pages() {
        let folder = page.parent().unwrap();
        let is_there = |path: &str| {
            let places = [folder.join("src"), folder.to_owned(), root()];
            places.iter().any(|place| place.join(path).exists())
        };
        let text = read(&page);
        let gone = page_paths(&text).into_iter().filter(|path| !is_there(path));
        missing.extend(gone.map(|path| format!("{}: {path}", page.display())));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_path_that_is_mentioned_exists() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = read(&document);
        let gone = mentioned_paths(&text)
            .into_iter()
            .filter(|path| !root().join(path).exists());
        missing.extend(gone.map(|path| format!("{}: {path}", document.display())));
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_make_target_that_is_mentioned_exists() {
    let makefile = read(&root().join("Makefile"));
    let is_target = |name: &str| {
        makefile
            .lines()
            .any(|line| line.starts_with(&format!("{name}:")))
    };
    for path in documents() {
        let text = read(&path);
        for name in make_targets(&text) {
            assert!(
                is_target(name),
                "{}: there is no `make {name}`",
                path.display()
            );
        }
    }
}

/// The names of test functions below a folder of the tree.
fn test_names(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            test_names(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = read(&path);
            let functions = text
                .lines()
                .filter_map(|line| line.trim().split_once("fn "));
            found.extend(functions.map(|(_, rest)| {
                let name = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_');
                name.collect::<String>()
            }));
        }
    }
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let mut known = BTreeSet::new();
    for folder in ["agent", "cni-plugin", "e2e", "overlay"] {
        test_names(&root().join(folder), &mut known);
    }
    let text = read(&root().join("docs/SECURITY.md"));
    let cells = prose(&text).filter_map(|(number, line)| {
        let shown_by = line.split('|').nth(3)?;
        line.starts_with('|').then_some((number, shown_by))
    });
    let names = cells.flat_map(|(number, cell)| {
        let names = cell.split('`').skip(1).step_by(2);
        names.map(move |name| (number, name))
    });
    let names: Vec<_> = names.filter(|(_, name)| name.contains('_')).collect();
    assert!(names.len() > 3, "the table's form has changed");
    let missing: Vec<_> = names
        .iter()
        .filter(|(_, name)| !known.contains(*name))
        .collect();
    assert!(
        missing.is_empty(),
        "no such tests (line, name): {missing:?}"
    );
}

/// Languages of blocks that somebody copies.
const COPIED: [&str; 4] = ["sh", "json", "ini", "yaml"];

/// The blocks that somebody copies: line, and what stands above them.
fn copied_blocks(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut fenced = false;
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        fenced = !fenced;
        if fenced && COPIED.contains(&language) {
            let above = index.checked_sub(1).map_or("", |above| lines[above]);
            found.push((index + 1, above.trim()));
        }
    }
    found
}

/// What is wrong with the line above a block.
fn unmarked(above: &str, known: &BTreeSet<String>) -> Option<String> {
    let inside = |start: &str| above.strip_prefix(start)?.strip_suffix(" -->");
    match (inside("<!-- run by: "), inside("<!-- not run: ")) {
        (Some(test), _) if known.contains(test) => None,
        (Some(test), _) => Some(format!("there is no test {test}")),
        (_, Some(reason)) if reason.contains(' ') => None,
        _ => Some("say above it which test runs it, or why none does (docs/TESTING.md)".to_owned()),
    }
}

#[test]
fn every_block_that_somebody_copies_is_run_by_a_test_or_says_why_not() {
    let mut known = BTreeSet::new();
    for folder in ["agent", "cni-plugin", "e2e", "overlay"] {
        test_names(&root().join(folder), &mut known);
    }
    let mut wrong = Vec::new();
    let mut count = 0;
    for document in documents() {
        let text = read(&document);
        for (number, above) in copied_blocks(&text) {
            count += 1;
            let why = unmarked(above, &known);
            wrong.extend(why.map(|why| format!("{}:{number}: {why}", document.display())));
        }
    }
    assert!(count > 30, "the blocks are not found: {count}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn these_tests_would_notice() {
    let document = root().join("docs/ARCHITECTURE.md");
    let text = "[a](nowhere.md) [b](../README.md)\n```\n[c](nowhere.md)\n```\n[d](#no-such-heading) [e](https://f)";
    let found = broken_links(&document, text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains(":1: nowhere.md"), "{found:?}");
    assert!(found[1].contains(":5: "), "{found:?}");
    assert_eq!(
        anchor("### What `cleanup` removes, and why"),
        "what-cleanup-removes-and-why"
    );
    let page = "| a | b |\n|---|---|\n| `x.rs` | `one`, `two.rs` |\n\nIn `three.rs` and `four`.";
    assert_eq!(page_paths(page), ["one", "two.rs", "three.rs"]);
    let paths = mentioned_paths("agent/no `agent/a b`\n```text\nx ─► overlay/b\n```");
    assert_eq!(paths, BTreeSet::from(["agent/a", "overlay/b"]));
    let targets = make_targets("make `make one` and\n```sh\nmake two # three\n```\nmake four");
    assert_eq!(targets, BTreeSet::from(["one", "two"]));
    let blocks = copied_blocks("<!-- x -->\n```sh\na\n```\n```text\nb\n```\n ```json\nc\n ```");
    assert_eq!(blocks, [(2, "<!-- x -->"), (8, "```")]);
    let known = BTreeSet::from(["a_test".to_owned()]);
    let wrong = |above: &str| unmarked(above, &known).is_some();
    assert!(wrong("") && wrong("<!-- run by: no_test -->") && wrong("<!-- not run: lazy -->"));
    assert!(!wrong("<!-- run by: a_test -->") && !wrong("<!-- not run: no time -->"));
}

/// A pattern of systemd's or NetworkManager's: a name, or a beginning and an asterisk.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

#[test]
fn the_files_for_networkd_and_networkmanager_name_every_device_of_ours_and_none_of_the_host() {
    let folder = root().join("manifests/systemd");
    for (file, key, between) in [
        ("networkd/10-tweed.network", "Name=", ' '),
        ("networkd/10-tweed.link", "OriginalName=", ' '),
        ("NetworkManager/10-tweed.conf", "unmanaged-devices+=", ';'),
    ] {
        let text = read(&folder.join(file));
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap();
        let patterns: Vec<_> = line.split(between).collect();
        let named = |name: &str| {
            let bare = |pattern: &str| pattern.trim_start_matches("interface-name:").to_owned();
            patterns.iter().any(|pattern| matches(&bare(pattern), name))
        };
        for ours in [
            "flannel.1",
            "flannel-v6.1",
            "flannel0",
            "flannel-u9000",
            "cni0",
            "veth1a2b",
        ] {
            assert!(named(ours), "{file} does not name {ours}");
        }
        for host in ["eth0", "ens3", "br0", "docker0", "wlan0"] {
            assert!(!named(host), "{file} names {host}");
        }
    }
}
