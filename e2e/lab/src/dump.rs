//! Output for a failed scenario: the state of a host as `ip`, `bridge` and `nft` show it, and the ends of
//! the logs.

use std::fs;
use std::path::Path;

use crate::namespace::Place;

/// The state of a host, for people.
pub fn state(place: Place<'_>) -> String {
    let mut text = format!("\n═══ {} ═══\n", place.name());
    for command in [
        "ip -d addr show",
        "ip nexthop show",
        "ip -4 route show",
        "ip -6 route show",
        "ip neigh show",
        "bridge fdb show",
        "nft -s list ruleset",
        "ss -tulpn",
        "cat /run/flannel/subnet.env",
    ] {
        let output = place
            .sh(command)
            .unwrap_or_else(|error| format!("{error:#}\n"));
        text += &format!("── {command}\n{output}");
    }
    text
}

/// The end of every log in a folder.
pub fn logs(folder: &Path) -> String {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    let mut text = String::new();
    for path in paths {
        let content = fs::read_to_string(&path).unwrap_or_else(|e| e.to_string());
        let lines: Vec<_> = content.lines().collect();
        let tail = &lines[lines.len().saturating_sub(60)..];
        text += &format!("── {}\n{}\n", path.display(), tail.join("\n"));
    }
    text
}
