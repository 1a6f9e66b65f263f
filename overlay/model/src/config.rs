//! The network configuration: flannel's `net-conf.json`, or the etcd key `config`. Read by Go's rules, then validated:
//! an error names the key, the value and what is allowed.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use super::json::{JsonError, Object};
use super::nearest::unknown_key;
use super::subnet::{Pool, nth_subnet, subnet_count};
use super::{Dual, Family, special};

const KEYS: &[&str] = &[
    "Network",
    "IPv6Network",
    "EnableIPv4",
    "EnableIPv6",
    "EnableNFTables",
    "SubnetLen",
    "SubnetMin",
    "SubnetMax",
    "IPv6SubnetLen",
    "IPv6SubnetMin",
    "IPv6SubnetMax",
    "Backend",
];

/// The side that cuts the pod network into subnets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subnets {
    /// We do, by the configuration's keys.
    #[default]
    Leased,
    /// The store does, as Kubernetes: the keys for subnets mean nothing, and need not fit.
    Assigned,
}

impl Subnets {
    /// Whether a subnet can be one of a pool's.
    #[must_use]
    pub fn fit(self, pool: &Pool, subnet: &IpNet) -> bool {
        match self {
            Self::Leased => pool.fits(subnet),
            Self::Assigned => pool.network.contains(subnet),
        }
    }
}

/// A validated network configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The enabled families and their pools.
    pub pools: Dual<Pool>,
    /// The backend's name in lower case; `udp` where the configuration names none, as in flannel.
    pub backend_type: String,
    /// The `Backend` object, keys as written; the backend looks them up without regard to case.
    pub backend: Map<String, Value>,
    /// `EnableNFTables`. Tweed always uses nftables; kept for display.
    pub enable_nftables: bool,
}

/// Why a configuration is refused. The message names the key, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("network configuration: {0}")]
pub struct ConfigError(pub String);

impl From<JsonError> for ConfigError {
    fn from(error: JsonError) -> Self {
        Self(error.to_string())
    }
}

impl NetworkConfig {
    /// Reads and validates a document. The second value lists the keys that mean nothing, to be warned about.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), ConfigError> {
        Self::parse_for(Subnets::Leased, text)
    }

    /// As [`NetworkConfig::parse`], for a store that may cut the network itself.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse_for(subnets: Subnets, text: &str) -> Result<(Self, Vec<String>), ConfigError> {
        let object = Object::parse(text)?;
        let unknown = object.unknown_keys(KEYS).into_iter();
        let unknown: Vec<String> = unknown.map(|key| unknown_key(key, KEYS)).collect();
        match Self::read(subnets, &object) {
            Ok(config) => Ok((config, unknown)),
            Err(error) if unknown.is_empty() => Err(error),
            // A key that is missing may be there under another name.
            Err(ConfigError(error)) => Err(ConfigError(format!(
                "{error} (unknown keys: {})",
                unknown.join(", ")
            ))),
        }
    }

    fn read(subnets: Subnets, object: &Object) -> Result<Self, ConfigError> {
        let v4_on = object.bool("EnableIPv4")?.unwrap_or(true);
        let v6_on = object.bool("EnableIPv6")?.unwrap_or(false);
        let mut pools = Dual::default();
        for (family, on) in [(Family::V4, v4_on), (Family::V6, v6_on)] {
            // Values of a family that is off must be readable all the same, as in flannel.
            let entries = Entries::read(object, Names::of(family))?;
            if on {
                pools.set(family, Some(entries.pool(subnets)?));
            }
        }
        if pools.is_empty() {
            return Err(ConfigError(
                "EnableIPv4 and EnableIPv6 are both false; one of them must be true".to_owned(),
            ));
        }
        let (backend_type, backend) = backend(object)?;
        let enable_nftables = object.bool("EnableNFTables")?.unwrap_or(false);
        Ok(Self {
            pools,
            backend_type,
            backend,
            enable_nftables,
        })
    }
}

fn backend(object: &Object) -> Result<(String, Map<String, Value>), ConfigError> {
    let options = match object.get("Backend") {
        None => return Ok(("udp".to_owned(), Map::new())),
        Some(Value::Null) => Map::new(),
        Some(Value::Object(options)) => options.clone(),
        Some(other) => {
            return Err(ConfigError(format!(
                "Backend is {other}; it must be an object such as {{\"Type\": \"vxlan\"}}"
            )));
        }
    };
    let kind = Object::from(&options).string("Type")?.unwrap_or_default();
    Ok((kind.to_lowercase(), options))
}

/// The keys of one family.
struct Names {
    family: Family,
    network: &'static str,
    len: &'static str,
    min: &'static str,
    max: &'static str,
    /// A default subnet length, where the network is at most `roomy` bits long; else it is two bits more.
    usual: u8,
    roomy: u8,
    longest: u8,
    /// The shortest prefix of a network.
    shortest: u8,
}

impl Names {
    fn of(family: Family) -> &'static Self {
        match family {
            Family::V4 => &Self {
                family: Family::V4,
                network: "Network",
                len: "SubnetLen",
                min: "SubnetMin",
                max: "SubnetMax",
                usual: 24,
                roomy: 22,
                longest: 30,
                shortest: 8,
            },
            Family::V6 => &Self {
                family: Family::V6,
                network: "IPv6Network",
                len: "IPv6SubnetLen",
                min: "IPv6SubnetMin",
                max: "IPv6SubnetMax",
                usual: 64,
                roomy: 62,
                longest: 126,
                shortest: 7,
            },
        }
    }
}

/// One family's values as read, not yet checked against each other.
struct Entries {
    names: &'static Names,
    network: Option<IpNet>,
    len: Option<u64>,
    min: Option<IpAddr>,
    max: Option<IpAddr>,
}

impl Entries {
    fn read(object: &Object, names: &'static Names) -> Result<Self, ConfigError> {
        let text = |key: &str| match names.family {
            Family::V4 => object.required_string(key),
            // flannel keeps these in pointers, which null leaves unset; the network it doesn't.
            Family::V6 if key == names.network => object.required_string(key),
            Family::V6 => object.string(key),
        };
        let network = text(names.network)?
            .map(|text| network(names, &text))
            .transpose()?;
        let addr = |key: &'static str| -> Result<Option<IpAddr>, ConfigError> {
            let found = text(key)?
                .map(|text| address(names.family, key, &text))
                .transpose()?;
            Ok(found.filter(|addr| !addr.is_unspecified()))
        };
        let len = object.u64(names.len)?.filter(|len| *len != 0);
        Ok(Self {
            names,
            network,
            len,
            min: addr(names.min)?,
            max: addr(names.max)?,
        })
    }

    fn pool(&self, subnets: Subnets) -> Result<Pool, ConfigError> {
        let names = self.names;
        let network = self
            .network
            .filter(|net| !net.addr().is_unspecified() || net.prefix_len() > 0);
        let network = network.ok_or_else(|| {
            ConfigError(format!(
                "{} is missing though {} is enabled; give the pod network, such as {}",
                names.network,
                names.family,
                if names.family == Family::V4 {
                    "10.244.0.0/16"
                } else {
                    "fd00:10:244::/48"
                },
            ))
        })?;
        check_scope(names, &network)?;
        if subnets == Subnets::Assigned {
            return Ok(uncut(names, network));
        }
        let subnet_len = self.subnet_len(&network)?;
        let last = subnet_count(&network, subnet_len) - 1;
        let subnet = |n| nth_subnet(&network, subnet_len, n).map(|net| net.network());
        let first = subnet(1).ok_or_else(|| self.too_small(&network))?;
        let last = subnet(last).ok_or_else(|| self.too_small(&network))?;
        let min = self.bound(names.min, self.min, first, &network, subnet_len)?;
        let max = self.bound(names.max, self.max, last, &network, subnet_len)?;
        if min > max {
            return Err(ConfigError(format!(
                "{} {min} is above {} {max}; no subnet is left to lease",
                names.min, names.max
            )));
        }
        Ok(Pool {
            network,
            subnet_len,
            min,
            max,
        })
    }

    fn subnet_len(&self, network: &IpNet) -> Result<u8, ConfigError> {
        let names = self.names;
        let least = network.prefix_len() + 2;
        let Some(len) = self.len else {
            return match network.prefix_len() {
                len if len > names.longest - 2 => Err(self.too_small(network)),
                len if len <= names.roomy => Ok(names.usual),
                len => Ok(len + 2),
            };
        };
        let fits = u8::try_from(len)
            .ok()
            .filter(|len| (least..=names.longest).contains(len));
        fits.ok_or_else(|| {
            ConfigError(if least > names.longest {
                self.too_small(network).0
            } else {
                format!(
                    "{} is {len}; with {} {network} it must be from {least} (the network holds at least four subnets) to {}",
                    names.len, names.network, names.longest
                )
            })
        })
    }

    fn too_small(&self, network: &IpNet) -> ConfigError {
        let names = self.names;
        ConfigError(format!(
            "{} {network} is too small: it must hold four subnets, so at most /{}",
            names.network,
            names.longest - 2
        ))
    }

    fn bound(
        &self,
        key: &str,
        given: Option<IpAddr>,
        default: IpAddr,
        network: &IpNet,
        subnet_len: u8,
    ) -> Result<IpAddr, ConfigError> {
        let Some(addr) = given else {
            return Ok(default);
        };
        if !network.contains(&addr) {
            let name = self.names.network;
            return Err(ConfigError(format!(
                "{key} {addr} is outside {name} {network}"
            )));
        }
        let aligned = IpNet::new(addr, subnet_len).is_ok_and(|net| net.network() == addr);
        if !aligned {
            return Err(ConfigError(format!(
                "{key} {addr} is not the base address of a /{subnet_len} subnet"
            )));
        }
        Ok(addr)
    }
}

/// A pool that somebody else leases from: any subnet of it may come, of any length.
fn uncut(names: &Names, network: IpNet) -> Pool {
    let longer = (network.prefix_len() + 2).min(names.family.bits());
    Pool {
        network,
        subnet_len: longer.max(names.usual),
        min: network.network(),
        max: network.broadcast(),
    }
}

fn network(names: &Names, text: &str) -> Result<IpNet, ConfigError> {
    let wrong = || {
        ConfigError(format!(
            "{} is {text:?}; it must be an {} network such as {}",
            names.network,
            names.family,
            if names.family == Family::V4 {
                "10.244.0.0/16"
            } else {
                "fd00:10:244::/48"
            },
        ))
    };
    let net: IpNet = text.parse().map_err(|_| wrong())?;
    if Family::of_net(&net) == names.family {
        Ok(net.trunc())
    } else {
        Err(wrong())
    }
}

/// A pod network holds nothing that no pod could have, and is no larger than what one organisation has.
fn check_scope(names: &Names, net: &IpNet) -> Result<(), ConfigError> {
    let name = names.network;
    if let Some(block) = special::block_within(net) {
        let (block, word) = (block.net, block.word);
        return Err(ConfigError(format!(
            "{name} {net} holds addresses of {block}, which are {word}: no pod can have them; choose a private network"
        )));
    }
    if net.prefix_len() < names.shortest {
        return Err(ConfigError(format!(
            "{name} {net} is larger than any private network: it must be at least /{}",
            names.shortest
        )));
    }
    Ok(())
}

fn address(family: Family, key: &str, text: &str) -> Result<IpAddr, ConfigError> {
    let wrong = || ConfigError(format!("{key} is {text:?}; it must be an {family} address"));
    let addr: IpAddr = text.parse().map_err(|_| wrong())?;
    match (family, addr) {
        (Family::V4, IpAddr::V4(_)) | (Family::V6, IpAddr::V6(_)) => Ok(addr),
        // Go reads an IPv4 text into an IPv6 field as an IPv4-mapped address.
        (Family::V6, IpAddr::V4(v4)) => Ok(IpAddr::V6(v4.to_ipv6_mapped())),
        (Family::V4, IpAddr::V6(_)) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests;
