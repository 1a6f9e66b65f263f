//! What ADD hands back, in the shape of the newest version. Older shapes exist only on the wire ([`super::wire`]).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};

/// Interfaces, addresses, routes and name servers of an attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct CniResult {
    /// The interfaces that were made.
    pub(crate) interfaces: Vec<Interface>,
    /// Addresses, with the index of the interface that carries them.
    pub(crate) ips: Vec<IpConfig>,
    /// Routes for the container.
    pub(crate) routes: Vec<Route>,
    /// Name servers; the runtime applies them.
    pub(crate) dns: Dns,
}

/// An interface of the host or of the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Interface {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) mac: String,
    /// Its MTU in bytes; 0 is unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) mtu: u32,
    /// The container's namespace, empty for an interface of the host.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) sandbox: String,
    /// The socket of a vhost-user interface.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) socket_path: String,
    /// The PCI address of a hardware interface.
    #[serde(skip_serializing_if = "String::is_empty", rename = "pciID")]
    pub(crate) pci_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IpConfig {
    /// Which of [`CniResult::interfaces`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) interface: Option<i64>,
    /// The address with the length of its subnet.
    #[serde(deserialize_with = "net")]
    pub(crate) address: IpNet,
    /// The subnet's gateway.
    #[serde(
        default,
        deserialize_with = "maybe_addr",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) gateway: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Route {
    /// Where to.
    #[serde(deserialize_with = "net")]
    pub(crate) dst: IpNet,
    /// Through whom; none means the gateway of the address of that family.
    #[serde(
        default,
        deserialize_with = "maybe_addr",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) gw: Option<IpAddr>,
    /// Largest packet, in bytes; 0 is unset.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) mtu: u32,
    /// TCP's largest segment, in bytes; 0 is unset.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) advmss: u32,
    /// Metric; 0 is unset.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) priority: u32,
    /// Routing table; none is main.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<u32>,
    /// Scope; none is global.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Dns {
    /// Addresses in order of preference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) domain: String,
    /// Domains to search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) search: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) options: Vec<String>,
}

impl CniResult {
    /// The addresses of one interface of the container, those of an IPAM plugin (which names no interface) included.
    pub(crate) fn addresses_of(&self, ifname: &str) -> impl Iterator<Item = &IpConfig> {
        self.ips.iter().filter(move |ip| {
            let Some(index) = ip.interface else {
                return true;
            };
            let interface = usize::try_from(index)
                .ok()
                .and_then(|index| self.interfaces.get(index));
            interface
                .is_some_and(|interface| interface.name == ifname && !interface.sandbox.is_empty())
        })
    }

    /// The entry of an interface, of the host (`sandbox` empty) or of a container.
    pub(crate) fn interface(&self, name: &str, sandbox: &str) -> Option<&Interface> {
        let mut all = self.interfaces.iter();
        all.find(|interface| interface.name == name && interface.sandbox == sandbox)
    }
}

impl Route {
    /// A route without attributes.
    pub(crate) fn new(dst: IpNet, gw: Option<IpAddr>) -> Self {
        Self {
            dst,
            gw,
            mtu: 0,
            advmss: 0,
            priority: 0,
            table: None,
            scope: None,
        }
    }
}

impl Dns {
    /// Whether nothing is set.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Reads a prefix and keeps its host bits; an IPv4 prefix written in IPv6 form becomes what it is.
pub(super) fn net<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    cidr(&text).ok_or_else(|| serde::de::Error::custom(format!("invalid CIDR address: {text}")))
}

/// The same of a text.
pub(crate) fn cidr(text: &str) -> Option<IpNet> {
    let net: IpNet = text.parse().ok()?;
    let IpNet::V6(v6) = net else {
        return Some(net);
    };
    let mapped = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped.and_then(|(addr, len)| IpNet::new(addr.into(), len).ok());
    Some(v4.unwrap_or(net))
}

/// Reads an address that may be absent or empty.
pub(crate) fn maybe_addr<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IpAddr>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    let addr: IpAddr = text
        .parse()
        .map_err(|_| serde::de::Error::custom(format!("invalid IP address: {text}")))?;
    Ok(Some(addr.to_canonical()))
}
