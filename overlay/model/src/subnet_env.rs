//! The file `subnet.env`: what the agent tells the CNI plugin, and what flannel's users read.
//! The format, its order and both ways of reading it are flannel's; a node can change sides with the file in place.

use std::fmt;

use ipnet::IpNet;

use super::{Dual, Family};

/// Where the file is unless configured otherwise.
pub const DEFAULT_PATH: &str = "/run/flannel/subnet.env";

/// What one node's pods are built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetEnv {
    /// The networks of all nodes, masked, in the order of the file. A family that is present has at least one.
    pub networks: Dual<Vec<IpNet>>,
    /// This node's subnets, as the gateway's address with the subnet's length: `10.244.1.1/24`.
    pub subnets: Dual<IpNet>,
    /// The MTU of a pod's interface, in bytes.
    pub mtu: u32,
    /// Whether the agent masquerades what leaves the network, so that the plugin need not.
    pub ip_masq: bool,
}

/// The prefixes of an earlier run, read leniently: what a restarted agent asks the store for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PreviousSubnets {
    /// The network of each family, masked.
    pub networks: Dual<IpNet>,
    /// The node's subnet of each family, masked.
    pub subnets: Dual<IpNet>,
}

/// Why the text is not a usable `subnet.env`. Displayed, it continues the file's name or the words "in" and its path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubnetEnvError {
    /// Keys without which no pod can be built; those of one family suffice.
    #[error("is missing {}", .0.join(", "))]
    Missing(Vec<&'static str>),
    /// A value that can't be read.
    #[error("has {key}={value}, which is not {expected}")]
    Invalid {
        /// The key of the line.
        key: &'static str,
        /// The value as it stands there.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
}

const NETWORK: Dual<&str> = Dual {
    v4: Some("FLANNEL_NETWORK"),
    v6: Some("FLANNEL_IPV6_NETWORK"),
};
const SUBNET: Dual<&str> = Dual {
    v4: Some("FLANNEL_SUBNET"),
    v6: Some("FLANNEL_IPV6_SUBNET"),
};
const MTU: &str = "FLANNEL_MTU";
const IP_MASQ: &str = "FLANNEL_IPMASQ";

impl SubnetEnv {
    /// Reads the file as the CNI plugin does: everything must be there and in order. Lines of other keys are ignored.
    ///
    /// # Errors
    /// All missing keys at once, or the first value that can't be read.
    pub fn parse(text: &str) -> Result<Self, SubnetEnvError> {
        let mut networks = Dual::default();
        let mut subnets = Dual::default();
        let mut mtu = None;
        let mut ip_masq = None;
        for (key, value) in assignments(text) {
            for family in Family::BOTH {
                if let Some(name) = name_if(NETWORK, family, key) {
                    networks.set(family, Some(network_list(name, family, value)?));
                } else if let Some(name) = name_if(SUBNET, family, key) {
                    subnets.set(family, Some(prefix(name, family, value)?));
                }
            }
            match key {
                MTU => mtu = Some(number(value)?),
                IP_MASQ => ip_masq = Some(value == "true"),
                _ => {}
            }
        }

        let mut missing = Vec::new();
        if networks.is_empty() {
            missing.extend(NETWORK.values());
        }
        if subnets.is_empty() {
            missing.extend(SUBNET.values());
        }
        match (mtu, ip_masq) {
            (Some(mtu), Some(ip_masq)) if missing.is_empty() => Ok(Self {
                networks,
                subnets,
                mtu,
                ip_masq,
            }),
            _ => {
                missing.extend(mtu.is_none().then_some(MTU));
                missing.extend(ip_masq.is_none().then_some(IP_MASQ));
                Err(SubnetEnvError::Missing(missing))
            }
        }
    }

    /// The text of the file, byte for byte flannel's.
    pub fn render(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for SubnetEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for family in Family::BOTH {
            if let (Some(key), Some(networks)) = (NETWORK.get(family), self.networks.get(family)) {
                let list: Vec<String> =
                    networks.iter().map(|net| net.trunc().to_string()).collect();
                writeln!(f, "{key}={}", list.join(","))?;
            }
            if let (Some(key), Some(subnet)) = (SUBNET.get(family), self.subnets.get(family)) {
                writeln!(f, "{key}={subnet}")?;
            }
        }
        writeln!(f, "{MTU}={}", self.mtu)?;
        writeln!(f, "{IP_MASQ}={}", self.ip_masq)
    }
}

impl PreviousSubnets {
    /// Reads the file as a restarted agent does: entries that can't be read are skipped, and a key with no valid
    /// entry, or with several, counts as absent. Host bits are masked. Never fails.
    pub fn parse(text: &str) -> Self {
        let only = |names: Dual<&'static str>| {
            names.filter_map(|family, name| {
                let (_, value) = assignments(text).filter(|(key, _)| key == name).last()?;
                let mut valid = value.split(',').filter_map(|entry| {
                    let net: IpNet = entry.trim().parse().ok()?;
                    (Family::of_net(&net) == family).then(|| net.trunc())
                });
                valid.next().filter(|_| valid.next().is_none())
            })
        };
        Self {
            networks: only(NETWORK),
            subnets: only(SUBNET),
        }
    }
}

/// The lines `KEY=value`, with what a shell or dotenv allows around them: `export`, quotes, comments.
fn assignments(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=')?;
        Some((key.trim(), unquote(value.trim())))
    })
}

fn unquote(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some((inside, _)) = value.strip_prefix(quote).and_then(|v| v.split_once(quote)) {
            return inside;
        }
    }
    value
        .split_once(" #")
        .map_or(value, |(value, _)| value.trim_end())
}

fn name_if(names: Dual<&'static str>, family: Family, key: &str) -> Option<&'static str> {
    names.get(family).copied().filter(|name| *name == key)
}

fn network_list(
    key: &'static str,
    family: Family,
    value: &str,
) -> Result<Vec<IpNet>, SubnetEnvError> {
    let mut list = Vec::new();
    for entry in value.split(',') {
        let net = prefix(key, family, entry.trim())?.trunc();
        if !list.contains(&net) {
            list.push(net);
        }
    }
    Ok(list)
}

fn prefix(key: &'static str, family: Family, value: &str) -> Result<IpNet, SubnetEnvError> {
    let net: Option<IpNet> = value.parse().ok();
    net.filter(|net| Family::of_net(net) == family)
        .ok_or_else(|| SubnetEnvError::Invalid {
            key,
            value: value.to_owned(),
            expected: match family {
                Family::V4 => "an IPv4 prefix such as 10.244.1.1/24",
                Family::V6 => "an IPv6 prefix such as fd00:10:244:1::1/64",
            },
        })
}

fn number(value: &str) -> Result<u32, SubnetEnvError> {
    value.parse().map_err(|_| SubnetEnvError::Invalid {
        key: MTU,
        value: value.to_owned(),
        expected: "a number of bytes such as 1450",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DUAL_STACK: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
        FLANNEL_IPV6_NETWORK=fd00:10:244::/56\nFLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64\n\
        FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn missing(text: &str) -> String {
        SubnetEnv::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_file_is_rendered_byte_for_byte_as_flannel_writes_it() {
        let env = SubnetEnv {
            networks: Dual {
                v4: Some(vec![net("10.244.0.0/16")]),
                v6: Some(vec![net("fd00:10:244::/56")]),
            },
            subnets: Dual::of_nets([net("10.244.1.1/24"), net("fd00:10:244:1::1/64")]),
            mtu: 1450,
            ip_masq: true,
        };
        assert_eq!(env.render(), DUAL_STACK);
        assert_eq!(SubnetEnv::parse(DUAL_STACK), Ok(env));
    }

    #[test]
    fn one_family_suffices() {
        let v6 = "FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\n\
            FLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n";
        let env = SubnetEnv::parse(v6).unwrap();
        assert_eq!(env.render(), v6);
        assert!(!env.networks.has(Family::V4));
    }

    #[test]
    fn several_networks_keep_their_order_and_lose_duplicates_and_host_bits() {
        let env = SubnetEnv::parse(
            "FLANNEL_NETWORK=10.1.0.0/16,10.0.0.7/16,10.1.0.0/16\nFLANNEL_SUBNET=10.1.2.1/24\n\
             FLANNEL_MTU=1500\nFLANNEL_IPMASQ=maybe\n",
        )
        .unwrap();
        assert_eq!(
            env.networks.v4,
            Some(vec![net("10.1.0.0/16"), net("10.0.0.0/16")])
        );
        assert!(!env.ip_masq, "anything but true is false");
    }

    #[test]
    fn all_missing_keys_are_named_at_once_in_the_order_operators_know() {
        assert_eq!(
            missing("foo=bar"),
            "is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, \
             FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ"
        );
        assert_eq!(
            missing("FLANNEL_NETWORK=10.0.0.0/8\nFLANNEL_SUBNET=10.0.1.1/24\nFLANNEL_IPMASQ=true"),
            "is missing FLANNEL_MTU"
        );
        assert_eq!(
            missing("FLANNEL_SUBNET\nFLANNEL_NETWORK=10.0.0.0/8\nFLANNEL_MTU=1\nFLANNEL_IPMASQ="),
            "is missing FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET",
            "a key without = crashed flannel's plugin"
        );
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        assert_eq!(
            missing("FLANNEL_MTU=big"),
            "has FLANNEL_MTU=big, which is not a number of bytes such as 1450"
        );
        assert_eq!(
            missing("FLANNEL_SUBNET=fd00::1/64"),
            "has FLANNEL_SUBNET=fd00::1/64, which is not an IPv4 prefix such as 10.244.1.1/24"
        );
    }

    #[test]
    fn an_earlier_subnet_is_read_from_a_file_that_shells_would_accept() {
        let previous = PreviousSubnets::parse(
            "# by hand\nexport FLANNEL_NETWORK=\"10.244.0.0/16\"\nFLANNEL_SUBNET = '10.244.3.1/24' # mine\n\
             FLANNEL_IPV6_SUBNET=fd00::1/64,fd01::1/64\n",
        );
        assert_eq!(previous.networks.v4, Some(net("10.244.0.0/16")));
        assert_eq!(previous.subnets.v4, Some(net("10.244.3.0/24")));
        assert_eq!(previous.subnets.v6, None, "two candidates are none");
    }

    #[test]
    fn entries_that_cannot_be_read_are_skipped() {
        let previous = PreviousSubnets::parse("FLANNEL_SUBNET=nonsense,10.244.3.1/24,fd00::/64\n");
        assert_eq!(previous.subnets.v4, Some(net("10.244.3.0/24")));
    }

    proptest! {
        #[test]
        fn no_text_makes_either_reader_panic(text in "(?s).{0,200}") {
            let _ = SubnetEnv::parse(&text);
            let _ = PreviousSubnets::parse(&text);
        }

        #[test]
        fn no_value_makes_either_reader_panic(values in prop::collection::vec("[0-9a-f:./,=\"' #]{0,30}", 6)) {
            let keys = NETWORK.values().chain(SUBNET.values()).copied().chain([MTU, IP_MASQ]);
            let text: String = keys.zip(&values).map(|(k, v)| format!("{k}={v}\n")).collect();
            let _ = SubnetEnv::parse(&text);
            let _ = PreviousSubnets::parse(&text);
        }

        #[test]
        fn what_is_rendered_is_read_back(
            v4 in any::<(u32, u32)>(), v6 in any::<u128>(), mtu in any::<u32>(), ip_masq in any::<bool>(),
        ) {
            let env = SubnetEnv {
                networks: Dual {
                    v4: Some(vec![IpNet::new(std::net::Ipv4Addr::from(v4.0).into(), 16).unwrap().trunc()]),
                    v6: Some(vec![IpNet::new(std::net::Ipv6Addr::from(v6).into(), 56).unwrap().trunc()]),
                },
                subnets: Dual::of_nets([
                    IpNet::new(std::net::Ipv4Addr::from(v4.1).into(), 24).unwrap(),
                    IpNet::new(std::net::Ipv6Addr::from(v6).into(), 64).unwrap(),
                ]),
                mtu,
                ip_masq,
            };
            prop_assert_eq!(SubnetEnv::parse(&env.render()), Ok(env));
        }
    }
}
