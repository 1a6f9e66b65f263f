//! flannel's formats, byte for byte: the key of a lease, its value, and where both stand in etcd.
//! Written exactly as flannel writes them, read as Go reads them, except that a key must be in canonical form.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::Value;

use super::json::{JsonError, Object};
use super::{BackendData, Dual, LeaseAttrs, SubnetKey, shown};

/// What stands for the IPv4 part in the key of a lease for IPv6 alone, and for an IPv4 address that isn't there.
const NO_IPV4: &str = "0.0.0.0-0";
/// The longest entry in bytes. flannel's have a hundred or two; a key of wireguard or a list of addresses fits too.
pub const LARGEST: usize = 16 << 10;
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Why a stored key or value is none of flannel's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not a subnet key.
    #[error(
        "{0:?} is not a subnet key (want 10.5.34.0-24, or with IPv6 10.5.34.0-24&fd00:5:34::-64)"
    )]
    Key(String),
    /// A key that means a subnet, but isn't the one name under which that subnet may stand.
    #[error("{found:?} is not the canonical key of its subnet (want {want})")]
    NotCanonical {
        /// The key as it stands in the store.
        found: String,
        /// How it should read.
        want: SubnetKey,
    },
    /// The value is much longer than any lease.
    #[error("the entry has {0} bytes, and a lease has {LARGEST} at most")]
    Size(usize),
    /// The value is no JSON, or has a wrong type somewhere.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// An address in the value is none.
    #[error("{key} is {found:?}, want an {want} address")]
    Address {
        /// Which member.
        key: &'static str,
        /// What stands there.
        found: String,
        /// Address family wanted.
        want: &'static str,
    },
}

impl FromStr for SubnetKey {
    type Err = WireError;

    /// Reads what [`SubnetKey`] prints and nothing else, so that one subnet has one key. IPv4 lengths go from 1 to 31
    /// and IPv6 ones from 1 to 127 (flannel reads 5 and 7 bits); host bits must be zero.
    fn from_str(text: &str) -> Result<Self, WireError> {
        let key = parse_key(text).ok_or_else(|| WireError::Key(shown(text).into_owned()))?;
        if key.to_string() != text {
            return Err(WireError::NotCanonical {
                found: shown(text).into_owned(),
                want: key,
            });
        }
        Ok(key)
    }
}

fn parse_key(text: &str) -> Option<SubnetKey> {
    let (v4, v6) = match text.split_once('&') {
        Some((v4, v6)) => (v4, Some(v6)),
        None => (text, None),
    };
    let v4 = match (v4, v6) {
        (NO_IPV4, Some(_)) => None,
        _ => Some(parse_part::<Ipv4Addr>(v4, 31)?),
    };
    let v6 = match v6 {
        Some(v6) => Some(parse_part::<Ipv6Addr>(v6, 127)?),
        None => None,
    };
    Some(SubnetKey(Dual { v4, v6 }))
}

/// `<address>-<length>`.
fn parse_part<A: FromStr + Into<IpAddr>>(text: &str, longest: u8) -> Option<IpNet> {
    let (addr, len) = text.split_once('-')?;
    let addr: A = addr.parse().ok()?;
    let len = len.parse().ok().filter(|len| (1..=longest).contains(len))?;
    IpNet::new(addr.into(), len).ok()
}

/// The value under which a lease stands in a store: flannel's `LeaseAttrs` in Go's compact JSON. The last three members
/// are left out when empty.
pub fn format_attrs(attrs: &LeaseAttrs) -> String {
    let v4 = attrs.public.v4.unwrap_or(NO_ADDRESS);
    let v6 = attrs
        .public
        .v6
        .map_or(Value::Null, |addr| addr.to_string().into());
    let mut text = format!(r#"{{"PublicIP":"{v4}","PublicIPv6":{v6}"#);
    if !attrs.backend_type.is_empty() {
        text.push_str(r#","BackendType":"#);
        text.push_str(&Value::from(attrs.backend_type.as_str()).to_string());
    }
    for (key, data) in [
        ("BackendData", &attrs.data.v4),
        ("BackendV6Data", &attrs.data.v6),
    ] {
        if let Some(data) = data {
            text.push_str(&format!(r#","{key}":{data}"#));
        }
    }
    text.push('}');
    escape_as_go(text)
}

/// Go writes these five characters escaped; in JSON they can only stand inside strings.
fn escape_as_go(text: String) -> String {
    const ESCAPED: [char; 5] = ['<', '>', '&', '\u{2028}', '\u{2029}'];
    if !text.contains(ESCAPED) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if ESCAPED.contains(&letter) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

/// Reads the value of a lease. An unspecified address counts as none, and so do backend data of `null`. Bytes that are
/// no UTF-8 are replaced, as Go does.
///
/// # Errors
/// If the value is no JSON object, or a member has the wrong type.
pub fn parse_attrs(value: &[u8]) -> Result<LeaseAttrs, WireError> {
    if value.len() > LARGEST {
        return Err(WireError::Size(value.len()));
    }
    let object = Object::parse(&String::from_utf8_lossy(value))?;
    // Numbers such as 1e15 are longer as they are kept than as they came.
    let data = |key| match object.get(key).filter(|data| !data.is_null()) {
        Some(data) => {
            let data = BackendData::from(data);
            let kept = data.len();
            (kept <= LARGEST)
                .then_some(Some(data))
                .ok_or(WireError::Size(kept))
        }
        None => Ok(None),
    };
    Ok(LeaseAttrs {
        public: Dual {
            v4: public_v4(&object)?,
            v6: public_v6(&object)?,
        },
        backend_type: object.string("BackendType")?.unwrap_or_default(),
        data: Dual {
            v4: data("BackendData")?,
            v6: data("BackendV6Data")?,
        },
    })
}

fn public_v4(object: &Object) -> Result<Option<IpAddr>, WireError> {
    const KEY: &str = "PublicIP";
    let Some(text) = object.required_string(KEY)? else {
        return Ok(None);
    };
    match text.parse::<Ipv4Addr>() {
        Ok(addr) => Ok(Some(addr.into()).filter(|addr: &IpAddr| !addr.is_unspecified())),
        Err(_) => Err(address_error(KEY, text, "IPv4")),
    }
}

/// flannel takes IPv4 text here for a mapped address.
fn public_v6(object: &Object) -> Result<Option<IpAddr>, WireError> {
    const KEY: &str = "PublicIPv6";
    let Some(text) = object.string(KEY)? else {
        return Ok(None);
    };
    let addr = match text.parse() {
        Ok(IpAddr::V4(addr)) => addr.to_ipv6_mapped(),
        Ok(IpAddr::V6(addr)) => addr,
        Err(_) => return Err(address_error(KEY, text, "IPv6")),
    };
    Ok(Some(addr.into()).filter(|addr: &IpAddr| !addr.is_unspecified()))
}

fn address_error(key: &'static str, found: String, want: &'static str) -> WireError {
    let found = shown(&found).into_owned();
    WireError::Address { key, found, want }
}

/// Where one network's documents stand in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdKeys {
    config: String,
    subnets: String,
}

impl EtcdKeys {
    /// Keys below a prefix such as `/coreos.com/network`, joined as Go's `path.Join` does: the result is cleaned of
    /// doubled slashes and dots, and a prefix without leading slash stays without one.
    pub fn new(prefix: &str) -> Self {
        Self {
            config: join(prefix, "config"),
            subnets: join(prefix, "subnets") + "/",
        }
    }

    /// Key of the network configuration.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// What the keys of all leases start with, slash included, so that a neighbour such as `subnets-old` isn't met.
    pub fn subnets(&self) -> &str {
        &self.subnets
    }

    /// Key of one lease.
    pub fn subnet(&self, key: &SubnetKey) -> String {
        format!("{}{key}", self.subnets)
    }

    /// The lease that an etcd key names; `None` if the key lies outside [`EtcdKeys::subnets`].
    pub fn parse_subnet(&self, key: &[u8]) -> Option<Result<SubnetKey, WireError>> {
        let name = key.strip_prefix(self.subnets.as_bytes())?;
        Some(String::from_utf8_lossy(name).parse())
    }
}

fn join(prefix: &str, name: &str) -> String {
    let path = if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}/{name}")
    };
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    if rooted { format!("/{path}") } else { path }
}

#[cfg(test)]
mod tests;
