//! Imports point one way: model ← store, model ← backend and firewall ← plan ← kernel ← reconcile; and what is pure
//! names no runtime, file, process, socket or clock. This test reads the sources and keeps it so.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::fs;
use std::path::{Path, PathBuf};

/// A part of the library, and what it may not name.
const RULES: &[(&str, &[&str])] = &[
    (
        "model",
        &[
            "crate::backend",
            "crate::firewall",
            "crate::plan",
            "crate::store",
        ],
    ),
    ("backend", &["crate::store"]),
    (
        "firewall",
        &["crate::backend", "crate::plan", "crate::store"],
    ),
    ("plan", &["crate::store"]),
    (
        "netlink",
        &[
            "crate::plan",
            "crate::kernel",
            "crate::store",
            "crate::reconcile",
            "tokio",
        ],
    ),
    (
        "forward",
        &[
            "crate::backend",
            "crate::firewall",
            "crate::plan",
            "crate::store",
            "tokio",
        ],
    ),
    ("kernel", &["crate::store", "crate::reconcile", "tokio"]),
    ("reconcile", &["crate::store", "crate::netlink", "tokio"]),
    (
        "store",
        &[
            "crate::kernel",
            "crate::netlink",
            "crate::plan",
            "crate::reconcile",
        ],
    ),
];

const PURE: &[&str] = &["model", "backend", "firewall", "plan", "forward"];
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "crate::bounded_file",
    "std::process",
    "std::thread",
    "TcpStream",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
    "RandomState",
    "crate::random",
    "crate::file_lock",
    "crate::sysctl",
    "crate::whole_file",
    "crate::kernel",
    "crate::netlink",
    "crate::netns",
    "crate::reconcile",
];

/// The shell around the data plane's pure half, which must not name it.
const SHELL: &[&str] = &[
    "forward/socket.rs",
    "forward/socket/complaint.rs",
    "forward/socket/handed.rs",
    "forward/socket/joined.rs",
    "forward/socket/loopback.rs",
    "forward/socket/sending.rs",
    "forward/socket/shared.rs",
    "forward/tun.rs",
    "forward/worker.rs",
    "forward/worker/inbound.rs",
    "forward/worker/mailbox.rs",
    "forward/worker/outbound.rs",
    "forward/worker/path.rs",
    "forward/worker/singly.rs",
    "forward/worker/tries.rs",
    "forward/worker/watch.rs",
];
const SHELL_NAMES: &[&str] = &["::socket::", "::tun::", "::worker::", "tun::Tun"];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    files
}

/// What is built without tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = rust_files(folder);
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

fn offences(part: &str, refused: &[&str]) -> Vec<String> {
    offences_in(sources(&folder(part)), refused)
}

/// The same without the shell.
fn pure_offences(part: &str, refused: &[&str]) -> Vec<String> {
    let mut pure = sources(&folder(part));
    pure.retain(|path| !SHELL.iter().any(|shell| path.ends_with(shell)));
    offences_in(pure, refused)
}

fn folder(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(part)
}

fn offences_in(sources: Vec<PathBuf>, refused: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for path in sources {
        for (number, line) in code(&path) {
            for word in refused.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{}:{number} names {word}", path.display()));
            }
        }
    }
    found
}

#[test]
fn imports_point_one_way() {
    let found: Vec<String> = RULES
        .iter()
        .flat_map(|(part, refused)| offences(part, refused))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_pure_parts_name_no_runtime_file_process_socket_or_clock() {
    let found: Vec<String> = PURE
        .iter()
        .flat_map(|part| pure_offences(part, IMPURE))
        .chain(pure_offences("forward", SHELL_NAMES))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rules_would_notice() {
    assert!(!offences("store", &["tokio"]).is_empty());
    assert!(!offences("forward", SHELL_NAMES).is_empty());
    let missing: Vec<_> = SHELL.iter().filter(|path| !folder(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    let packages = [
        "overlay",
        "agent",
        "agent/connectivity",
        "cni-plugin",
        "e2e",
    ];
    for part in packages.map(|name| [format!("{name}/src"), format!("{name}/tests")]) {
        let folders = part.iter().map(|part| root.join(part));
        for path in folders
            .filter(|folder| folder.exists())
            .flat_map(|folder| rust_files(&folder))
        {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > 400 {
                found.push(format!("{}: {lines}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "split by idea:\n{}", found.join("\n"));
}
