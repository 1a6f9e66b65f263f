//! The kernel's counters below `/proc/net`, and who listens.

use std::fs;
use std::path::Path;

use crate::operator::doctor::facts::Counters;

/// Reads the counters that the checks know, as far as the kernel has them.
pub fn read(proc: &Path) -> Counters {
    let mut counters = Counters::new();
    let text = |name: &str| fs::read_to_string(proc.join("net").join(name)).unwrap_or_default();
    let (snmp, netstat) = (text("snmp"), text("netstat"));
    for (name, file, group, column) in [
        ("udp_receive_buffer", &snmp, "Udp:", "RcvbufErrors"),
        ("udp_checksum", &snmp, "Udp:", "InCsumErrors"),
        ("reverse_path", &netstat, "TcpExt:", "IPReversePathFilter"),
    ] {
        counters.extend(by_heads(file, group, column).map(|value| (name, value)));
    }
    for (name, file, column) in [
        ("neighbour_overflows", "stat/arp_cache", "table_fulls"),
        (
            "conntrack_insert_failed",
            "stat/nf_conntrack",
            "insert_failed",
        ),
        ("conntrack_drop", "stat/nf_conntrack", "drop"),
    ] {
        counters.extend(by_processor(&text(file), column).map(|value| (name, value)));
    }
    // What one processor had no room for is the second number of its line.
    let softnet = text("softnet_stat");
    let dropped = softnet
        .lines()
        .filter_map(|line| hex(line.split_whitespace().nth(1)?));
    counters.insert("softnet_dropped", dropped.sum());
    let number = |path: &str| {
        fs::read_to_string(proc.join(path))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    for (name, path) in [
        ("conntrack_count", "sys/net/netfilter/nf_conntrack_count"),
        ("conntrack_max", "sys/net/netfilter/nf_conntrack_max"),
        ("neighbour_limit", "sys/net/ipv4/neigh/default/gc_thresh3"),
    ] {
        counters.extend(number(path).map(|value| (name, value)));
    }
    let entries = by_processor_first(&text("stat/arp_cache"));
    counters.extend(entries.map(|value| ("neighbours", value)));
    counters
}

/// A column of a group of two lines: names, then numbers.
fn by_heads(text: &str, group: &str, column: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (heads, numbers) = (lines.next()?, lines.next()?);
    let at = heads.split_whitespace().position(|head| head == column)?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

/// The sum over all processors of a column; hexadecimal, below a line of names.
fn by_processor(text: &str, column: &str) -> Option<u64> {
    let mut lines = text.lines();
    let at = lines
        .next()?
        .split_whitespace()
        .position(|head| head == column)?;
    Some(
        lines
            .filter_map(|line| hex(line.split_whitespace().nth(at)?))
            .sum(),
    )
}

/// The first number, which is the same for all processors.
fn by_processor_first(text: &str) -> Option<u64> {
    hex(text.lines().nth(1)?.split_whitespace().next()?)
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// Local ports of UDP sockets of both families.
pub fn udp_ports(proc: &Path) -> Vec<u16> {
    let texts = ["net/udp", "net/udp6"].map(|name| fs::read_to_string(proc.join(name)));
    let texts: Vec<String> = texts.into_iter().flatten().collect();
    let lines = texts.iter().flat_map(|text| text.lines().skip(1));
    let port = |line: &str| {
        let (_, port) = line.split_whitespace().nth(1)?.rsplit_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    lines.filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_the_names_of_their_columns() {
        let folder = tempfile::tempdir().expect("a folder");
        let net = folder.path().join("net");
        fs::create_dir_all(net.join("stat")).expect("a folder");
        let write = |name: &str, text: &str| fs::write(net.join(name), text).expect("written");
        write(
            "snmp",
            "Ip: a b\nIp: 1 2\nUdp: InDatagrams RcvbufErrors InCsumErrors\nUdp: 7 8 9\n",
        );
        write("netstat", "TcpExt: X IPReversePathFilter\nTcpExt: 1 5\n");
        write(
            "stat/arp_cache",
            "entries  allocs table_fulls\n0000000a 1 00000002\n0000000a 1 00000003\n",
        );
        write("softnet_stat", "00000001 00000010 0\n00000001 00000001 0\n");
        write(
            "udp",
            "  sl  local_address rem\n 1: 00000000:2118 00000000:0000 07\n",
        );
        let counters = read(folder.path());
        assert_eq!(counters["udp_receive_buffer"], 8);
        assert_eq!(counters["udp_checksum"], 9);
        assert_eq!(counters["reverse_path"], 5);
        assert_eq!(counters["neighbour_overflows"], 5);
        assert_eq!(counters["neighbours"], 10);
        assert_eq!(counters["softnet_dropped"], 17);
        assert!(!counters.contains_key("conntrack_drop"));
        assert_eq!(udp_ports(folder.path()), [8472]);
    }
}
