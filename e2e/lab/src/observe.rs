//! State of a host's kernel as `ip`, `bridge` and `nft` show it: for comparing before and after, and for
//! watching what changes.

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde_json::Value;
use tweed_model::Family;

use crate::topology::Host;

/// Everything that a repair could touch, one line for each object. Indices and handles are in the lines, so an object
/// that was deleted and made again differs.
///
/// # Errors
/// When one of the tools fails.
pub fn snapshot(host: &Host) -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    for (label, command) in [
        ("link", "ip -o link show"),
        ("vxlan", "ip -o -d link show type vxlan"),
        ("addr", "ip -o addr show"),
        ("nexthop", "ip nexthop show"),
        ("route4", "ip -4 -d route show table all"),
        ("route6", "ip -6 -d route show table all"),
        ("neigh", "ip neigh show nud permanent"),
        ("fdb", "bridge fdb show"),
    ] {
        for line in host.sh(command)?.lines() {
            if label == "fdb" && !line.contains("permanent") {
                // Learnt by a bridge from traffic; comes and goes.
                continue;
            }
            if line.trim().starts_with("nh_info ") {
                // The object that a route refers to, which is listed by itself.
                continue;
            }
            // The search for duplicates ends by itself.
            let line = line.trim().replace(" tentative", "");
            lines.insert(format!("{label} {line}"));
        }
    }
    // Sets print their elements over several lines, in an order that says nothing.
    lines.insert(format!("nft {}", host.sh("nft -s -a list ruleset")?));
    let file = "/run/flannel/subnet.env";
    let text = fs::read_to_string(host.path(file)).unwrap_or_else(|e| e.to_string());
    lines.insert(format!("file {file} {text}"));
    Ok(lines)
}

/// The agent's routes of one family: plain ones, and those by nexthop objects.
///
/// # Errors
/// When `ip` fails.
pub fn own_routes(host: &Host, family: Family) -> Result<String> {
    let flag = match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    };
    let list = |protocol| host.sh(&format!("ip {flag} route show proto {protocol}"));
    Ok(list(84)? + &list(85)?)
}

/// A line without a word and the one after it, such as `nhid 7`.
pub fn without(word: &str, line: &str) -> String {
    let mut words = line.split(' ');
    let mut left = Vec::new();
    while let Some(next) = words.next() {
        match next == word {
            true => drop(words.next()),
            false => left.push(next),
        }
    }
    left.join(" ")
}

/// Lines that are in only one of two snapshots, marked like a diff.
pub fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let gone = before.difference(after).map(|line| format!("- {line}"));
    let new = after.difference(before).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

/// Programs that print every change of links, addresses, routes, neighbours, FDB and nftables while they run.
#[derive(Debug)]
pub struct Watch {
    children: Vec<Child>,
    files: Vec<PathBuf>,
}

impl Watch {
    /// Starts them on a host.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(host: &Host) -> Result<Self> {
        let mut watch = Self {
            children: Vec::new(),
            files: Vec::new(),
        };
        for (name, words) in [
            ("ip", "ip -o monitor link address nexthop route neigh"),
            ("fdb", "bridge monitor fdb"),
            ("nft", "nft monitor"),
        ] {
            let path = host.log(&format!("monitor-{name}"));
            let file = File::create(&path)?;
            let mut words = words.split_whitespace();
            let mut command = Command::new(words.next().context("a command has words")?);
            command.args(words).stdout(file).stderr(Stdio::null());
            watch.children.push(host.place().spawn(&mut command)?);
            watch.files.push(path);
        }
        // None of them says when it has subscribed; all do so at once, before they print anything.
        thread::sleep(Duration::from_millis(100));
        Ok(watch)
    }

    /// Ends them and gives what they printed. Neighbours that come and go by themselves are left out.
    ///
    /// # Errors
    /// When their output cannot be read.
    pub fn stop(mut self) -> Result<Vec<String>> {
        thread::sleep(Duration::from_millis(50));
        self.end();
        let mut lines = Vec::new();
        for path in &self.files {
            let text = fs::read_to_string(path)?;
            lines.extend(
                text.lines()
                    .map(|line| line.trim().to_owned())
                    .filter(|line| !line.is_empty() && !is_transient(line)),
            );
        }
        Ok(lines)
    }

    fn end(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_transient(line: &str) -> bool {
    let states = [
        "REACHABLE",
        "STALE",
        "DELAY",
        "PROBE",
        "FAILED",
        "INCOMPLETE",
    ];
    states.iter().any(|state| line.ends_with(state)) || line.starts_with("# new generation")
}

/// The routes to exactly this destination.
///
/// # Errors
/// When `ip` fails.
pub fn routes(host: &Host, dst: &IpNet) -> Result<String> {
    let family = match dst {
        IpNet::V4(_) => "-4",
        IpNet::V6(_) => "-6",
    };
    host.sh(&format!("ip {family} route show exact {dst}"))
}

/// One link as `ip -j -d` shows it.
///
/// # Errors
/// When it isn't there.
pub fn link(host: &Host, name: &str) -> Result<Value> {
    let text = host.sh(&format!("ip -j -d link show dev {name}"))?;
    let list: Vec<Value> = serde_json::from_str(&text)?;
    list.into_iter()
        .next()
        .with_context(|| format!("no link {name} on {}", host.name()))
}

/// A link's index.
///
/// # Errors
/// When it isn't there.
pub fn ifindex(host: &Host, name: &str) -> Result<u64> {
    link(host, name)?["ifindex"]
        .as_u64()
        .context("a link has an index")
}

/// A link's Ethernet address.
///
/// # Errors
/// When it isn't there.
pub fn mac(host: &Host, name: &str) -> Result<String> {
    Ok(link(host, name)?["address"]
        .as_str()
        .context("a link has an address")?
        .to_owned())
}
