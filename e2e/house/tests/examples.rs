//! The Rust in the documents is what stands in the tree: a line above each block names the file that it was copied from.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::fs;

use tweed_house::root;

const FROM: &str = "<!-- copied from: ";

/// The blocks of Rust in a document: the line above, and the text.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut above = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "```rust" {
            let block = lines.by_ref().take_while(|line| *line != "```");
            found.push((above, block.map(|line| format!("{line}\n")).collect()));
        }
        above = line;
    }
    found
}

/// What is wrong with a block.
fn wrong(above: &str, block: &str) -> Option<String> {
    let Some(file) = above.strip_prefix(FROM) else {
        return Some(format!("{FROM}<file> --> is missing above\n{block}"));
    };
    let file = file.strip_suffix(" -->").unwrap_or(file);
    let source = fs::read_to_string(root().join(file)).unwrap_or_default();
    (!source.contains(block)).then(|| format!("{file} no longer has\n{block}"))
}

#[test]
fn every_example_in_rust_stands_in_the_tree_as_the_document_shows_it() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (above, block) in blocks(&text) {
            count += 1;
            let wrong = wrong(above, &block);
            assert!(wrong.is_none(), "{}: {}", path.display(), wrong.unwrap());
        }
    }
    assert!(count > 0, "no examples are found");
}

#[test]
fn an_example_that_differs_or_names_no_file_is_noticed() {
    let own = "<!-- copied from: e2e/house/tests/examples.rs -->";
    let text = format!("{own}\n```rust\nuse tweed_house::root;\n```\n");
    let [(above, block)] = &blocks(&text)[..] else {
        panic!("one block");
    };
    assert_eq!(wrong(above, block), None);
    assert!(wrong(above, &block.replace("root", "roof")).is_some());
    assert!(wrong("", block).is_some());
    assert!(wrong(&above.replace("examples", "nothing"), block).is_some());
}
