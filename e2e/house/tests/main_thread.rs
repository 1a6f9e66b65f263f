//! The daemon's main thread waits for nothing: what could make it is named by no file of the daemon, except where another
//! thread runs it.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use std::fs;

use tweed_house::{root, rust_files};

const DAEMON: &str = "agent/src/daemon";

/// What asks the kernel, waits for another thread, or waits.
const REFUSED: &[&str] = &[
    "Netlink",
    "Netfilter",
    "Ethtool",
    "sysctl::",
    "/proc/sys",
    "uplink::choose(",
    "facts::read(",
    "facts::addresses(",
    "used_bridges(",
    "fs::read",
    "fs::write",
    "fs::remove",
    "fs::create_dir",
    "fs::symlink_metadata",
    "bounded_file::read",
    "atomic::replace",
    "file_id(",
    ".exists()",
    "Condvar",
    "recv_timeout",
    "thread::sleep",
];

/// Files that may, what, and which thread it is that does it.
const ELSEWHERE: &[(&str, &[&str], &str)] = &[
    (
        "asking/forecast.rs",
        &["Netlink", "bounded_file::read"],
        "a command, in a process of its own",
    ),
    (
        "asking/prepare.rs",
        &["bounded_file::read"],
        "a thread of the pool",
    ),
    (
        "asking/survey.rs",
        &[
            "Netlink",
            "uplink::choose(",
            "facts::read(",
            "used_bridges(",
        ],
        "the kernel thread",
    ),
    (
        "data_plane/damaged.rs",
        &["fs::read"],
        "the kernel thread, and a thread of the pool",
    ),
    (
        "metrics/addresses.rs",
        &["fs::read"],
        "a thread of the pool",
    ),
    ("metrics/process.rs", &["fs::read"], "a thread of the pool"),
    (
        "keepers/cni.rs",
        &["bounded_file::read", ".exists()"],
        "the thread that has the files",
    ),
    (
        "keepers/hindrances.rs",
        &["Netfilter", "sysctl::"],
        "the kernel thread",
    ),
    (
        "keepers/host.rs",
        &["facts::read(", "facts::addresses("],
        "the kernel thread",
    ),
    (
        "keepers/socket.rs",
        &[
            "fs::create_dir",
            "fs::symlink_metadata",
            "fs::remove",
            "file_id(",
        ],
        "the thread that has the files",
    ),
    (
        "keepers/subnet_file.rs",
        &[
            "bounded_file::read",
            "fs::create_dir",
            "atomic::replace",
            "file_id(",
        ],
        "the thread that has the files",
    ),
    ("keepers/tx_checksum.rs", &["Ethtool"], "the kernel thread"),
    (
        "keepers/uplink.rs",
        &["uplink::choose("],
        "the kernel thread",
    ),
    ("http/trace.rs", &["recv_timeout"], "a thread of the pool"),
    (
        "choices.rs",
        &["/proc/sys", "fs::read", "Netlink"],
        "the main thread, once, before its loop",
    ),
    (
        "sandbox/landlock.rs",
        &["fs::read"],
        "the first thread, before there are others",
    ),
    (
        "sandbox/mod.rs",
        &["bounded_file::read"],
        "the first thread, before there are others",
    ),
    (
        "sandbox/files.rs",
        &["/proc/sys"],
        "the first thread, which opens nothing there",
    ),
    (
        "offline.rs",
        &["uplink::choose(", "facts::read("],
        "a command, where no agent runs",
    ),
];

/// Which words each file names, without comments and inline tests.
fn found() -> Vec<(String, &'static str)> {
    let folder = root().join(DAEMON);
    let mut found = Vec::new();
    for path in rust_files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        if name.ends_with("tests.rs") || name.contains("tests/") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(str::trim);
        let lines = lines.take_while(|line| !line.starts_with("mod tests"));
        for line in lines.filter(|line| !line.starts_with("//")) {
            let words = REFUSED.iter().filter(|word| line.contains(**word));
            found.extend(words.map(|word| (name.clone(), *word)));
        }
    }
    found
}

#[test]
fn nothing_that_waits_is_named_where_the_main_thread_runs() {
    let may = |file: &str, word: &str| {
        let mut rows = ELSEWHERE.iter();
        rows.any(|(name, words, _)| *name == file && words.contains(&word))
    };
    let found = found();
    let more: Vec<_> = found
        .iter()
        .filter(|(file, word)| !may(file, word))
        .collect();
    assert!(
        more.is_empty(),
        "have it read by the kernel thread (readings.rs): {more:?}"
    );
}

#[test]
fn no_exception_is_left_that_nothing_needs() {
    let found = found();
    for (file, words, _) in ELSEWHERE {
        for word in *words {
            let needed = found
                .iter()
                .any(|(name, there)| name == file && there == word);
            assert!(needed, "{file} does not name {word} any more");
        }
    }
}
