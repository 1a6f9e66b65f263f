//! No crate has a circle between its files: files that need each other can't be read, tested or moved one by one.
//!
//! What counts. The unit is a file of `src`. It needs another file of its crate if it names something that is defined
//! there: in a `use`, or by a path in the code. A name that a module only passes on (`mod`, `use`, `pub use`) leads to
//! the file that defines it, so that a `mod.rs` which lists and re-exports its children needs none of them, and a child
//! that names one of its siblings through the parent needs the sibling. A parent that uses a child, and a child that
//! uses the parent's own items, need each other: that is a circle. Files that need each other in a ring of any length
//! are one. Left out: comments, texts, and what is compiled for tests alone.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[path = "circles/graph.rs"]
mod graph;
#[path = "circles/source.rs"]
mod source;

use graph::rings;
use source::{Source, Tree};
use tweed_house::{packages, root};

/// Modules of a crate, by path: `["net", "link"]`.
type Modules = BTreeMap<Vec<String>, Source>;

/// All modules that are files, from `lib.rs` and `main.rs` down.
fn modules(src: &Path) -> Modules {
    let mut found = Modules::new();
    for root in ["lib.rs", "main.rs"] {
        let path = src.join(root);
        if path.exists() {
            read(src, &path, Vec::new(), &mut found);
        }
    }
    found
}

fn read(folder: &Path, path: &Path, name: Vec<String>, found: &mut Modules) {
    let source = Source::read(&fs::read_to_string(path).unwrap());
    for child in &source.children {
        let mut files = [
            folder.join(format!("{child}.rs")),
            folder.join(child).join("mod.rs"),
        ]
        .into_iter();
        if let Some(file) = files.find(|file| file.exists()) {
            let mut name = name.clone();
            name.push(child.clone());
            read(&folder.join(child), &file, name, found);
        }
    }
    found.insert(name, source);
}

/// The files that a module needs.
fn needs(name: &[String], source: &Source, modules: &Modules) -> BTreeSet<Vec<String>> {
    let trees = source.uses.iter().chain(&source.paths);
    let mut needed: BTreeSet<Vec<String>> = trees
        .filter_map(|tree| absolute(name, tree, modules))
        .flat_map(|path| resolve(&path, modules, 0))
        .collect();
    needed.remove(name);
    needed
}

/// A path from the root of the crate; `None` if it leads elsewhere.
fn absolute(name: &[String], tree: &Tree, modules: &Modules) -> Option<Vec<String>> {
    let mut at = name.to_vec();
    let mut parts = tree.iter().map(String::as_str).peekable();
    match parts.peek().copied()? {
        "crate" => {
            parts.next();
            at.clear();
        }
        "self" => {
            parts.next();
        }
        "super" => {
            while parts.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        first => {
            let source = &modules[name];
            if !source.children.contains(first) {
                return None;
            }
        }
    }
    at.extend(parts.map(str::to_owned));
    Some(at)
}

/// The files that define what a path names.
fn resolve(path: &[String], modules: &Modules, depth: usize) -> BTreeSet<Vec<String>> {
    let Some(length) = (0..=path.len())
        .rev()
        .find(|length| modules.contains_key(&path[..*length]))
    else {
        return BTreeSet::new();
    };
    let (module, rest) = path.split_at(length);
    let itself = || BTreeSet::from([module.to_vec()]);
    let Some(item) = rest.first().filter(|_| depth < 8) else {
        return itself();
    };
    let source = &modules[module];
    if source.items.contains(item) {
        return itself();
    }
    let passed_on = source.uses.iter().filter(|tree| {
        let last = tree.last().map(String::as_str);
        last == Some(item.as_str()) || last == Some("*")
    });
    let mut found = BTreeSet::new();
    for tree in passed_on {
        let mut tree = tree.clone();
        if tree.last().is_some_and(|last| last == "*") {
            tree.pop();
            tree.push(item.clone());
        }
        // What comes from another crate needs no file of this one.
        let Some(mut target) = absolute(module, &tree, modules) else {
            return BTreeSet::new();
        };
        target.extend(rest[1..].iter().cloned());
        found.extend(resolve(&target, modules, depth + 1));
    }
    // A macro's work, or an item that is not looked for: the file itself.
    if found.is_empty() { itself() } else { found }
}

/// What each file needs.
fn graph_of(modules: &Modules) -> BTreeMap<String, BTreeSet<String>> {
    let shown = |name: &Vec<String>| match name.as_slice() {
        [] => "crate".to_owned(),
        name => name.join("::"),
    };
    let edges = modules.iter().map(|(name, source)| {
        let needed = needs(name, source, modules);
        (shown(name), needed.iter().map(shown).collect())
    });
    edges.collect()
}

/// A ring, and which of its files needs which.
fn explained(package: &str, ring: &[String], graph: &BTreeMap<String, BTreeSet<String>>) -> String {
    let mut text = format!("{package}: {}", ring.join(", "));
    for file in ring {
        let needed = graph[file].iter().filter(|other| ring.contains(other));
        let needed: Vec<&str> = needed.map(String::as_str).collect();
        text.push_str(&format!("\n    {file} needs {}", needed.join(", ")));
    }
    text
}

#[test]
fn no_crate_has_a_circle_between_its_files() {
    let mut found = Vec::new();
    for package in packages() {
        let src = root().join(&package).join("src");
        let modules = modules(&src);
        assert!(
            !src.exists() || !modules.is_empty(),
            "no modules in {package}"
        );
        let graph = graph_of(&modules);
        let rings = rings(&graph);
        found.extend(rings.iter().map(|ring| explained(&package, ring, &graph)));
    }
    assert!(
        found.is_empty(),
        "files that need each other:\n{}",
        found.join("\n")
    );
}

/// A crate of files with these texts.
fn of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    rings(&graph_of(&modules(dir.path())))
}

#[test]
fn files_that_name_each_other_are_a_circle_however_they_name() {
    let root = ("lib.rs", "pub mod a;\npub mod b;\npub mod c;\n");
    let c = ("c.rs", "pub fn c() {}\n");
    let a = (
        "a.rs",
        "use crate::b::{\n    self, B,\n};\npub struct A(B);\n",
    );
    for b in [
        "use super::a::A;\npub struct B;\n",
        "pub struct B;\nfn f(a: &crate::a::A) {}\n",
        "use crate::{a, c};\npub struct B;\n",
    ] {
        assert_eq!(of(&[root, c, a, ("b.rs", b)]), [["a", "b"]], "{b}");
    }
    let b = ("b.rs", "use super::c::C;\npub struct B;\n");
    let ring = ("c.rs", "pub struct C(pub crate::a::A);\n");
    assert_eq!(of(&[root, a, b, ring]), [["a", "b", "c"]]);
    for b in [
        "// crate::a::A\npub struct B;\n/// [`crate::a::A`]\nconst C: &str = \"crate::a::A\";\n",
        "pub struct B;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n",
    ] {
        assert_eq!(of(&[root, c, a, ("b.rs", b)]), [[""; 0]; 0], "{b}");
    }
}

#[test]
fn a_module_that_only_passes_on_is_in_no_circle_and_one_that_uses_its_child_is() {
    let root = ("lib.rs", "mod p;\n");
    let one = ("p/one.rs", "use super::Two;\npub struct One;\n");
    let two = ("p/two.rs", "pub struct Two;\n");
    let passes_on = (
        "p/mod.rs",
        "mod one;\nmod two;\npub use one::One;\npub use two::Two;\n",
    );
    assert_eq!(of(&[root, passes_on, one, two]), [[""; 0]; 0]);
    let back = ("p/two.rs", "use super::One;\npub struct Two;\n");
    assert_eq!(of(&[root, passes_on, one, back]), [["p::one", "p::two"]]);

    let uses = ("p.rs", "mod one;\nuse one::One;\npub struct P(One);\n");
    let child = ("p/one.rs", "use super::P;\npub struct One;\n");
    assert_eq!(of(&[root, uses, child]), [["p", "p::one"]]);
    let alone = ("p/one.rs", "pub struct One;\n");
    assert_eq!(of(&[root, uses, alone]), [[""; 0]; 0]);
}
