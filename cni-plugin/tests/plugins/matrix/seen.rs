//! What a namespace has, one fact a line, without what is chosen anew each time.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::Value;

/// Facts that can be compared.
pub(crate) type Facts = BTreeSet<String>;

/// Prints all that is looked at, in parts with a line between them. One process of `ip` answers many questions.
const SCRIPT: &str = "
exec 2>/dev/null
printf '%s\n' 'link show' 'addr show' 'route show table all' 'rule show' | ip -j -d -batch - || true
printf '%s\n' 'route show table all' 'rule show' | ip -j -d -6 -batch - || true
echo; echo @
cd /proc/sys/net
grep -rs '' ipv4/conf ipv6/conf ipv4/ip_forward core/somaxconn || true
echo @
";

/// The same of what a host has alone.
const OF_HOST: &str = "
tc -j qdisc show; echo; echo @
for dev in $(tc qdisc show | sed -n 's/^qdisc ingress .* dev \\([^ ]*\\) .*/\\1/p'); do
  tc filter show dev $dev parent ffff: | sed \"s/^/filter $dev /\"
done
echo @
nft list ruleset; echo @
bridge -j vlan show
";

/// Members that say nothing, differ each time, or are about to change when they are read: counters, timers, numbers of
/// interfaces, and whether a link has its carrier already.
const PASSED_OVER: &str = "^(ifindex|ifname|link|link_index|link_netnsid|permaddr|broadcast|operstate|linkmode|gso_.*\
    |gro_.*|tso_.*|min_mtu|max_mtu|num_[rt]x_queues|inet6_addr_gen_mode|.*_timer|.*_id|group_addr|group_address|no|state\
    |designated_.*|port_id|.*_life_time|valid_.*|tentative|label|dynamic|optimistic|refcnt|info_slave_kind\
    |topology_change.*|root_.*|fdb_n_learned|.*_seq)$";

/// Adds what a container has, in which `run` runs a script.
pub(crate) fn of_pod(facts: &mut Facts, run: &dyn Fn(&str) -> String) {
    let parts = parts(&run(SCRIPT));
    network(&parts, &mut |fact| {
        facts.insert(format!("pod {fact}"));
    });
}

/// Adds what the host has.
pub(crate) fn of_host(facts: &mut Facts, run: &dyn Fn(&str) -> String) {
    let parts = parts(&run(&format!("{SCRIPT}{OF_HOST}")));
    let mut add = |fact: String| {
        facts.insert(format!("host {fact}"));
    };
    network(&parts, &mut add);
    for qdisc in json(&parts[2])
        .concat()
        .iter()
        .filter(|qdisc| qdisc["kind"] != "noqueue")
    {
        add(format!("qdisc {}", flat(qdisc)));
    }
    parts[3]
        .lines()
        .for_each(|line| add(line.trim().to_owned()));
    rules(&parts[4], &mut add);
    for port in json(&parts[5]).concat() {
        for vlan in port["vlans"].as_array().into_iter().flatten() {
            add(format!("vlan {} {}", text(&port, "ifname"), flat(vlan)));
        }
    }
}

fn parts(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .split(|line| *line == "@")
        .map(|part| part.join("\n"))
        .collect()
}

/// The lists of a text, one behind the other.
fn json(text: &str) -> Vec<Vec<Value>> {
    let values = serde_json::Deserializer::from_str(text).into_iter();
    values.map_while(Result::ok).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Links, addresses, routes, rules and switches.
fn network(parts: &[String], add: &mut dyn FnMut(String)) {
    let lists = json(&parts[0]);
    let [links, addrs, routes4, rules4, routes6, rules6] = lists.as_slice() else {
        panic!("ip has answered: {}", parts[0]);
    };
    for link in links {
        let name = text(link, "ifname");
        add(format!("link {name}"));
        facts_of_link(link, &mut |fact| add(format!("link {name} {fact}")));
    }
    for link in addrs {
        let infos = link["addr_info"].as_array().into_iter().flatten();
        for addr in infos.filter(|addr| addr["scope"] != "link") {
            add(format!("addr {} {}", text(link, "ifname"), flat(addr)));
        }
    }
    for route in routes4
        .iter()
        .chain(routes6)
        .filter(|route| !is_the_kernels(route))
    {
        add(format!("route {}", flat(route)));
    }
    for (family, rules) in [("v4", rules4), ("v6", rules6)] {
        rules
            .iter()
            .for_each(|rule| add(format!("rule {family} {}", flat(rule))));
    }
    parts[1]
        .lines()
        .for_each(|line| add(format!("sysctl {line}")));
}

fn facts_of_link(link: &Value, add: &mut dyn FnMut(String)) {
    let flags = link["flags"].as_array().into_iter().flatten();
    let lasting = ["UP", "PROMISC", "ALLMULTI", "NOARP"];
    for flag in flags.filter_map(Value::as_str) {
        if lasting.contains(&flag) {
            add(format!("flag {flag}"));
        }
    }
    members(link, "", &mut |key, value| {
        if !key.starts_with("flags") {
            add(format!("{key}={value}"));
        }
    });
}

/// Whether the kernel makes a route by itself, for each address and each link.
fn is_the_kernels(route: &Value) -> bool {
    let dst = route["dst"].as_str().unwrap_or_default();
    let own = ["fe80", "ff00"].iter().any(|begin| dst.starts_with(begin));
    own || route["table"] == "local"
        || ["multicast", "anycast"]
            .iter()
            .any(|kind| route["type"] == *kind)
}

/// The rules of the packet filter, each behind its table and chain.
fn rules(text: &str, add: &mut impl FnMut(String)) {
    let (mut table, mut chain) = (String::new(), String::new());
    for line in text.lines().map(str::trim) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["table", family, name, "{"] => table = format!("{family} {name}"),
            ["chain" | "set" | "map", name, "{"] => chain = (*name).to_owned(),
            [] | ["}"] => {}
            _ => add(format!("nft {table} {chain}: {line}")),
        }
    }
}

/// The members of an object and of those within it.
pub(crate) fn members(value: &Value, at: &str, add: &mut dyn FnMut(String, String)) {
    static PASSED: LazyLock<Regex> = LazyLock::new(|| Regex::new(PASSED_OVER).unwrap());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if at.is_empty() {
                    key.clone()
                } else {
                    format!("{at}.{key}")
                };
                if !PASSED.is_match(key) {
                    members(value, &path, add);
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                members(value, &format!("{at}.{index}"), add);
            }
        }
        Value::String(text) => add(at.to_owned(), text.clone()),
        other => add(at.to_owned(), other.to_string()),
    }
}

/// An object in one line.
fn flat(value: &Value) -> String {
    let mut words = Vec::new();
    members(value, "", &mut |key, value| {
        if !["linkdown", "dead"].contains(&value.as_str()) && key != "handle" {
            words.push(format!("{key}={value}"));
        }
    });
    words.sort();
    words.join(" ")
}

/// A line without names and numbers that are chosen anew each time. Hardware addresses that begin with 02:00:00:00:00
/// are those of configurations.
pub(crate) fn plain(line: &str, container: &str) -> String {
    static RULES: LazyLock<[(Regex, &str); 7]> = LazyLock::new(|| {
        [
            (r"\bveth[0-9a-f]{4,}\b", "veth"),
            (
                r"\b(bwp|CNI-|CNI-DN-|CNI-SN-|CNI-HOSTPORT-)[0-9a-f]{6,}\b",
                "${1}HASH",
            ),
            (r"\b[0-9a-f]{16,}\b", "HASH"),
            (r"\b02:00:00:00:00:", "configured "),
            (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "MAC"),
            (r"packets [0-9]+ bytes [0-9]+", "N"),
            (r"\bif[0-9]+\b", "ifN"),
        ]
        .map(|(pattern, by)| (Regex::new(pattern).unwrap(), by))
    });
    RULES
        .iter()
        .fold(line.replace(container, "ID"), |line, (pattern, by)| {
            pattern.replace_all(&line, *by).into_owned()
        })
}
