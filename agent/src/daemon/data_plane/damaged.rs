//! UDP datagrams that the kernel has dropped since their length or checksum was wrong: in all of the agent's network
//! namespace, since it counts them for no socket. Where a peer's kernel or network card damages what it sends, this is the
//! only trace of it on the receiving host.

use std::fs;

/// Number of them since the namespace was made.
pub(super) fn count() -> u64 {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    of_v4(&read("/proc/self/net/snmp")) + of_v6(&read("/proc/self/net/snmp6"))
}

/// Errors other than a full buffer.
fn damaged(count: impl Fn(&str) -> Option<u64>) -> u64 {
    let count = |name| count(name).unwrap_or(0);
    let room = count("RcvbufErrors") + count("MemErrors");
    count("InErrors").saturating_sub(room)
}

/// A line of names, and one of numbers (`snmp_seq_show_tcp_udp` in net/ipv4/proc.c).
fn of_v4(text: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, numbers) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let counts = || names.split_whitespace().zip(numbers.split_whitespace());
    damaged(|wanted| {
        let (_, number) = counts().find(|(name, _)| *name == wanted)?;
        number.parse().ok()
    })
}

/// A name and a number in each line (net/ipv6/proc.c).
fn of_v6(text: &str) -> u64 {
    damaged(|wanted| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp6"));
        lines.find_map(|line| line.strip_prefix(wanted)?.trim().parse().ok())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wrong_length_or_checksum_counts_and_a_full_buffer_does_not() {
        let v4 = "Tcp: InErrs\nTcp: 9\n\
            Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n\
            Udp: 100 1 12 90 4 0 3 0 1\n\
            UdpLite: InDatagrams NoPorts InErrors\nUdpLite: 1 1 50\n";
        assert_eq!(of_v4(v4), 7);
        let v6 = "Ip6InReceives   \t5\nUdp6InErrors                    \t6\nUdp6RcvbufErrors  \t2\n\
            Udp6InCsumErrors \t1\nUdpLite6InErrors \t50\n";
        assert_eq!(of_v6(v6), 4);
    }

    proptest! {
        #[test]
        fn no_text_is_a_reason_to_panic(text in ".{0,200}") {
            of_v4(&text);
            of_v6(&text);
            of_v4(&format!("Udp: {text}\nUdp: {text}"));
        }
    }
}
