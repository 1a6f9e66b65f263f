//! What the crates can't say by themselves: which of them may name which, that what is pure names no runtime, file,
//! process, socket or clock, and that no file is too long. This test reads the sources and keeps it so.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tweed_house::{packages, root, rust_files};

/// A crate, and which of ours it may name. They stand in the order in which data flows.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("overlay/model", &[]),
    ("overlay/host", &[]),
    ("overlay/netlink", &["host", "model"]),
    ("overlay/nft", &["host", "model", "netlink"]),
    ("overlay/attach", &["host", "model", "netlink", "nft"]),
    ("overlay/dhcp", &["host", "model", "netlink"]),
    ("overlay/forward", &["model"]),
    ("overlay/dataplane", &["forward", "host", "model"]),
    ("overlay/state", &["forward", "model", "nft"]),
    ("overlay/backend", &["forward", "model", "nft", "state"]),
    (
        "overlay/plan",
        &["backend", "forward", "model", "nft", "state"],
    ),
    (
        "overlay/kernel",
        &[
            "attach",
            "dataplane",
            "host",
            "model",
            "netlink",
            "nft",
            "state",
        ],
    ),
    ("overlay/probe", &["host", "model"]),
    ("overlay/store", &["host", "model"]),
    (
        "overlay/reconcile",
        &["forward", "host", "kernel", "model", "nft", "plan", "state"],
    ),
    (
        "cni-plugin",
        &["attach", "dhcp", "host", "model", "netlink", "nft"],
    ),
];

/// Crates that decide and compute, and nothing else.
const PURE: &[&str] = &["model", "nft", "state", "forward", "backend", "plan"];
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::process",
    "std::thread",
    "TcpStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
    "RandomState",
    "tweed_host",
    "tweed_netlink",
];
/// What reads tables back and changes them, beside the rules as values.
const SHELL: &str = "overlay/nft/src/live";

/// What is built without tests.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut files = rust_files(&root().join(folder).join("src"));
    files.retain(|path| !path.ends_with("tests.rs"));
    files
}

/// Code lines before the file's inline tests, comments left out.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("mod tests"));
    let lines = lines
        .enumerate()
        .filter(|(_, line)| !line.starts_with("//"));
    lines
        .map(|(index, line)| (index + 1, line.to_owned()))
        .collect()
}

fn offences(package: &str, refused: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let shell = root().join(SHELL);
    let is_shell = |path: &Path| path.starts_with(&shell) || path == shell.with_extension("rs");
    for path in sources(package).iter().filter(|path| !is_shell(path)) {
        for (number, line) in code(path) {
            for word in refused.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{number} names {word}", path.display()));
            }
        }
    }
    found
}

/// Our own crates among the dependencies of a package; those of its tests are not looked at.
fn own_dependencies(package: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
    let after = text.split("[dependencies]\n").nth(1).unwrap_or_default();
    let names = after.lines().take_while(|line| !line.starts_with('['));
    let own = names.filter_map(|line| line.strip_prefix("tweed-"));
    own.map(|rest| rest.split(['.', ' ']).next().unwrap().to_owned())
        .collect()
}

#[test]
fn crates_name_only_what_stands_before_them() {
    for (package, may) in MAY_NAME {
        let may: BTreeSet<String> = may.iter().map(|name| (*name).to_owned()).collect();
        let more: Vec<_> = own_dependencies(package)
            .difference(&may)
            .cloned()
            .collect();
        assert!(more.is_empty(), "{package} may not name {more:?}");
    }
}

#[test]
fn every_crate_of_the_overlay_has_its_place() {
    let placed: BTreeSet<&str> = MAY_NAME.iter().map(|(package, _)| *package).collect();
    let all = packages();
    let overlay = all.iter().filter(|package| package.starts_with("overlay/"));
    let without: Vec<_> = overlay
        .filter(|package| !placed.contains(package.as_str()))
        .collect();
    assert!(without.is_empty(), "no place in MAY_NAME: {without:?}");
    assert!(
        placed
            .iter()
            .all(|package| all.contains(&(*package).to_owned()))
    );
}

#[test]
fn the_pure_crates_name_no_runtime_file_process_socket_or_clock() {
    let found: Vec<String> = PURE
        .iter()
        .flat_map(|part| offences(&format!("overlay/{part}"), IMPURE))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_need_not_be_asynchronous_names_no_runtime() {
    let blocking = MAY_NAME.iter().map(|(package, _)| *package);
    let blocking = blocking.filter(|package| *package != "overlay/store");
    let found: Vec<String> = blocking
        .flat_map(|package| offences(package, &["tokio"]))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rules_would_notice() {
    assert!(!offences("overlay/store", &["tokio"]).is_empty());
    assert!(!offences("overlay/kernel", IMPURE).is_empty());
    assert!(own_dependencies("overlay/kernel").contains("attach"));
    assert!(root().join(SHELL).exists());
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let mut found = Vec::new();
    for package in packages() {
        for part in ["src", "tests"] {
            for path in rust_files(&root().join(&package).join(part)) {
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                if lines > 400 {
                    found.push(format!("{}: {lines}", path.display()));
                }
            }
        }
    }
    assert!(found.is_empty(), "split by idea:\n{}", found.join("\n"));
}
