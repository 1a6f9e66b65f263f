//! A switch of the kernel, as a configuration names it. Pure.

use crate::spec::{CniError, Kind};

/// What stands for the container's interface.
const IFNAME: &str = "IFNAME";

/// A switch below `/proc/sys/net`, and the value that it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    /// As it is written in the configuration.
    pub(super) key: String,
    /// Below `/proc/sys`.
    pub(super) path: String,
    pub(super) value: String,
}

impl Switch {
    /// Reads a key with dots, or with slashes, in which the dots are a name's own.
    ///
    /// # Errors
    /// When it is not one of the network's.
    pub(super) fn parse(key: &str, value: &str, ifname: &str) -> Result<Self, CniError> {
        let parts = match key.contains('/') {
            true => key
                .trim_start_matches('/')
                .split('/')
                .map(str::to_owned)
                .collect(),
            false => dotted(key),
        };
        let path = parts.join("/");
        let is_odd = |part: &String| matches!(part.as_str(), "" | "." | "..");
        if parts.len() < 2 || parts[0] != "net" || parts.iter().any(is_odd) || path.contains('\0') {
            let msg = format!("invalid net sysctl key: {key:?}");
            return Err(CniError::new(Kind::Config, msg)
                .details("want one below net, such as net.ipv4.conf.IFNAME.arp_filter"));
        }
        Ok(Self {
            key: key.to_owned(),
            path: match ifname {
                "" => path,
                ifname => path.replacen(IFNAME, ifname, 1),
            },
            value: value.to_owned(),
        })
    }
}

/// The parts of a key with dots. The switches of one interface have no dot in their own names, so that the dots between
/// `conf` and the last part are the interface's.
fn dotted(key: &str) -> Vec<String> {
    let parts: Vec<&str> = key.split('.').collect();
    match parts.as_slice() {
        ["net", family, kind @ ("conf" | "neigh"), name @ .., switch] if !name.is_empty() => {
            vec![
                "net".into(),
                (*family).into(),
                (*kind).into(),
                name.join("."),
                (*switch).into(),
            ]
        }
        parts => parts.iter().map(|part| (*part).to_owned()).collect(),
    }
}

/// Whether a switch's text is the wanted value. The kernel parts several numbers by tabs.
pub(super) fn is_same(text: &str, wanted: &str) -> bool {
    text.split_whitespace().eq(wanted.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(key: &str, ifname: &str) -> Result<String, String> {
        Switch::parse(key, "1", ifname)
            .map(|switch| switch.path)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn dots_in_an_interfaces_name_are_the_names_own() {
        for (key, ifname, expected) in [
            ("net.core.somaxconn", "eth0", "net/core/somaxconn"),
            (
                "net.ipv4.conf.IFNAME.arp_filter",
                "eth0",
                "net/ipv4/conf/eth0/arp_filter",
            ),
            (
                "net.ipv4.conf.IFNAME.arp_filter",
                "eth0.100",
                "net/ipv4/conf/eth0.100/arp_filter",
            ),
            (
                "net.ipv4.conf.eth0.100.rp_filter",
                "eth0",
                "net/ipv4/conf/eth0.100/rp_filter",
            ),
            (
                "net.ipv6.neigh.a.b.c.retrans_time",
                "x",
                "net/ipv6/neigh/a.b.c/retrans_time",
            ),
            (
                "net/ipv4/conf/eth0.100/rp_filter",
                "eth0",
                "net/ipv4/conf/eth0.100/rp_filter",
            ),
            ("/net/ipv4/ip_forward", "eth0", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.IFNAME.x", "", "net/ipv4/conf/IFNAME/x"),
        ] {
            assert_eq!(path(key, ifname).as_deref(), Ok(expected), "{key}");
        }
    }

    #[test]
    fn what_is_not_the_networks_is_refused() {
        for key in [
            "",
            "net",
            "kernel.hostname",
            "net/../kernel/hostname",
            "net..x",
            "net.ipv4.conf",
            "net//x",
            "network.x",
        ] {
            let refused = path(key, "eth0");
            match key {
                "net.ipv4.conf" => assert!(refused.is_ok()),
                _ => assert!(
                    refused.unwrap_err().contains("invalid net sysctl key"),
                    "{key}"
                ),
            }
        }
    }

    #[test]
    fn several_numbers_are_the_same_whatever_parts_them() {
        assert!(is_same("4096\t131072\t6291456", "4096 131072 6291456"));
        assert!(is_same("1", "1\n") && !is_same("1", "10"));
    }

    proptest::proptest! {
        #[test]
        fn no_key_leads_out_of_the_networks_switches(key in "(net[./])?[a-zA-Z./\0]{0,24}", ifname in "[a-z.]{0,15}") {
            if ifname != "." && ifname != ".." && let Ok(path) = path(&key, &ifname) {
                proptest::prop_assert!(path.starts_with("net/"));
                proptest::prop_assert!(!path.split('/').any(|part| part == ".." || part.is_empty()));
            }
        }
    }
}
