//! flannel's node annotations: how a node announces its lease in Kubernetes. Written exactly as flannel writes them,
//! since a flannel peer compares texts; read leniently. The subnet itself is the node's `spec.podCIDRs`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::Value;

use super::shown::shortened;
use super::wire::LARGEST;
use super::{BackendData, Dual, Family, LeaseAttrs, shown};

/// `true` on a node that takes part.
const MANAGED: &str = "kube-subnet-manager";
const BACKEND_TYPE: &str = "backend-type";
/// The names of these go by family.
const DATA: [&str; 2] = ["backend-data", "backend-v6-data"];
const PUBLIC: [&str; 2] = ["public-ip", "public-ipv6"];
const OVERWRITE: [&str; 2] = ["public-ip-overwrite", "public-ipv6-overwrite"];
const WISH: [&str; 2] = ["node-public-ip", "node-public-ipv6"];
/// What a node writes about itself; the rest is written by operators.
const WRITTEN: [&str; 6] = [
    MANAGED,
    BACKEND_TYPE,
    DATA[0],
    DATA[1],
    PUBLIC[0],
    PUBLIC[1],
];

/// Annotations as Kubernetes holds them.
pub type Annotations = BTreeMap<String, String>;

/// What the names of all annotations start with: a DNS name, a slash, and perhaps a word with a dash behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

/// Why a prefix or an annotation can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// Not a prefix.
    #[error(
        "{0:?} is not a prefix of annotations (want a lower-case DNS name such as flannel.alpha.coreos.com, or one with a word behind a slash)"
    )]
    Prefix(String),
    /// Not an address of the family.
    #[error("annotation {key} is {found:?}, want an {want} address")]
    Address {
        /// The annotation.
        key: String,
        /// What it says.
        found: String,
        /// The family wanted.
        want: Family,
    },
    /// Much longer than any lease's.
    #[error("annotation {key} has {long} bytes, and a lease has {LARGEST} at most")]
    Size {
        /// The annotation.
        key: String,
        /// Its bytes.
        long: usize,
    },
    /// Backend data that are no JSON.
    #[error("annotation {key} is {found:?}, which is no JSON: {why}")]
    Data {
        /// The annotation.
        key: String,
        /// What it says, shortened.
        found: String,
        /// What the parser says.
        why: String,
    },
}

impl Prefix {
    /// Reads a prefix by flannel's rules: `org.com` becomes `org.com/`, and `org.com/word` becomes `org.com/word-`.
    ///
    /// # Errors
    /// [`AnnotationError::Prefix`].
    pub fn parse(text: &str) -> Result<Self, AnnotationError> {
        let (domain, word) = text.split_once('/').unwrap_or((text, ""));
        let label =
            |label: &str| !label.is_empty() && label.bytes().all(|b| is_plain(b) || b == b'-');
        let labels = domain.split('.');
        let domain_fits = labels.clone().count() > 1 && labels.clone().all(label);
        if !domain_fits || !(word.is_empty() || label(word)) {
            return Err(AnnotationError::Prefix(text.to_owned()));
        }
        let dash = if word.is_empty() || word.ends_with('-') {
            ""
        } else {
            "-"
        };
        Ok(Self(format!("{domain}/{word}{dash}")))
    }

    /// Whether an annotation can be one of ours, whatever the prefix: what of a node is worth keeping.
    pub fn may_own(key: &str) -> bool {
        let mut names = WRITTEN.iter().chain(&OVERWRITE).chain(&WISH);
        names.any(|name| key.ends_with(name))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }

    fn get<'a>(&self, annotations: &'a Annotations, name: &str) -> Option<&'a str> {
        annotations.get(&self.key(name)).map(String::as_str)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

impl Default for Prefix {
    /// flannel's own.
    fn default() -> Self {
        Self("flannel.alpha.coreos.com/".to_owned())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a node announces, as annotations. flannel's rules decide which there are: the IPv4 pair always, except for
/// VXLAN without IPv4; the IPv6 pair for the backends that know IPv6, which our udp does where it says so.
pub fn render(prefix: &Prefix, attrs: &LeaseAttrs) -> Annotations {
    let kind = attrs.backend_type.as_str();
    let has = |family: Family| match (family, kind) {
        (Family::V4, "vxlan") => attrs.data.v4.is_some(),
        (Family::V4, _) => true,
        (Family::V6, "vxlan") => attrs.data.v6.is_some(),
        (Family::V6, "wireguard" | "") => attrs.data.v6.is_some() && attrs.public.v6.is_some(),
        (Family::V6, "host-gw" | "extension") => attrs.public.v6.is_some(),
        (Family::V6, _) => false,
    };
    let mut annotations = Annotations::from([
        (prefix.key(MANAGED), "true".to_owned()),
        (prefix.key(BACKEND_TYPE), kind.to_owned()),
    ]);
    for (index, family) in Family::BOTH.into_iter().enumerate() {
        if !has(family) {
            continue;
        }
        let data = attrs.data.get(family);
        let data = data.map_or_else(|| "null".to_owned(), ToString::to_string);
        let public = attrs.public.get(family).copied();
        let public = public.unwrap_or_else(|| unspecified(family));
        annotations.insert(prefix.key(DATA[index]), data);
        annotations.insert(prefix.key(PUBLIC[index]), public.to_string());
    }
    annotations
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// What a node announces; `None` if it takes no part.
///
/// # Errors
/// The first annotation that can't be read.
pub fn parse(
    prefix: &Prefix,
    annotations: &Annotations,
) -> Result<Option<LeaseAttrs>, AnnotationError> {
    if prefix.get(annotations, MANAGED) != Some("true") {
        return Ok(None);
    }
    for name in WRITTEN {
        let long = prefix.get(annotations, name).map_or(0, str::len);
        if long > LARGEST {
            let key = prefix.key(name);
            return Err(AnnotationError::Size { key, long });
        }
    }
    let mut attrs = LeaseAttrs {
        backend_type: prefix
            .get(annotations, BACKEND_TYPE)
            .unwrap_or_default()
            .to_owned(),
        ..LeaseAttrs::default()
    };
    for (index, family) in Family::BOTH.into_iter().enumerate() {
        let public = address(prefix, annotations, PUBLIC[index], family)?;
        attrs.public.set(family, public);
        attrs
            .data
            .set(family, data(prefix, annotations, DATA[index])?);
    }
    Ok(Some(attrs))
}

fn address(
    prefix: &Prefix,
    annotations: &Annotations,
    name: &str,
    family: Family,
) -> Result<Option<IpAddr>, AnnotationError> {
    let Some(text) = prefix.get(annotations, name).map(str::trim) else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<IpAddr>() {
        Ok(addr) if Family::of(&addr) == family => {
            Ok(Some(addr).filter(|addr| !addr.is_unspecified()))
        }
        _ => Err(AnnotationError::Address {
            key: prefix.key(name),
            found: shown(text).into_owned(),
            want: family,
        }),
    }
}

fn data(
    prefix: &Prefix,
    annotations: &Annotations,
    name: &str,
) -> Result<Option<BackendData>, AnnotationError> {
    let text = prefix.get(annotations, name).unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(None);
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Null) => Ok(None),
        Ok(value) => Ok(Some(value.into())),
        Err(error) => Err(AnnotationError::Data {
            key: prefix.key(name),
            found: shortened(text, 60).into_owned(),
            why: error.to_string(),
        }),
    }
}

/// Addresses that an operator put on a node, and what is wrong with those that can't be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// The usable ones.
    pub addrs: Dual<IpAddr>,
    /// Annotations that can't be used.
    pub wrong: Vec<AnnotationError>,
}

/// The addresses that are announced instead of the node's own (`public-ip-overwrite`, `public-ipv6-overwrite`).
pub fn overwrites(prefix: &Prefix, annotations: &Annotations) -> Chosen {
    chosen(prefix, annotations, OVERWRITE)
}

/// The addresses that select the uplink and are announced, as `--public-ip` does (`node-public-ip`,
/// `node-public-ipv6`).
pub fn wishes(prefix: &Prefix, annotations: &Annotations) -> Chosen {
    chosen(prefix, annotations, WISH)
}

fn chosen(prefix: &Prefix, annotations: &Annotations, names: [&str; 2]) -> Chosen {
    let mut chosen = Chosen::default();
    for (index, family) in Family::BOTH.into_iter().enumerate() {
        match address(prefix, annotations, names[index], family) {
            Ok(addr) => chosen.addrs.set(family, addr),
            Err(error) => chosen.wrong.push(error),
        }
    }
    chosen
}

/// What must change on a node so that it announces `wanted`: new texts, and `None` for what has to go. Empty if
/// nothing has to.
///
/// A flannel peer with both families notices a change only if the texts of both change at once. So a change of one
/// family comes with one of the other's, which means nothing: a blank in front of its data, or none.
pub fn changes(
    prefix: &Prefix,
    wanted: &Annotations,
    present: &Annotations,
) -> BTreeMap<String, Option<String>> {
    let mut changes = BTreeMap::new();
    for name in WRITTEN {
        let key = prefix.key(name);
        match (wanted.get(&key), present.get(&key)) {
            (Some(want), Some(have)) if same(name, want, have) => {}
            (Some(want), _) => {
                changes.insert(key, Some(want.clone()));
            }
            (None, Some(_)) => {
                changes.insert(key, None);
            }
            (None, None) => {}
        }
    }
    nudge(prefix, wanted, present, &mut changes);
    changes
}

fn same(name: &str, want: &str, have: &str) -> bool {
    let blank = DATA.contains(&name).then(|| have.strip_prefix(' '));
    want == blank.flatten().unwrap_or(have)
}

fn nudge(
    prefix: &Prefix,
    wanted: &Annotations,
    present: &Annotations,
    changes: &mut BTreeMap<String, Option<String>>,
) {
    let keys = [0, 1].map(|index| [DATA[index], PUBLIC[index]].map(|name| prefix.key(name)));
    let whole = |have: &Annotations| keys.iter().flatten().all(|key| have.contains_key(key));
    let kind = changes.contains_key(&prefix.key(BACKEND_TYPE));
    if kind || !whole(wanted) || !whole(present) {
        return;
    }
    let touched = [0, 1].map(|index: usize| keys[index].iter().any(|k| changes.contains_key(k)));
    if touched[0] == touched[1] {
        return;
    }
    let still = usize::from(touched[0]);
    let key = &keys[still][0];
    let (Some(want), Some(have)) = (wanted.get(key), present.get(key)) else {
        return;
    };
    let text = match have.starts_with(' ') {
        true => want.clone(),
        false => format!(" {want}"),
    };
    changes.insert(key.clone(), Some(text));
}

/// What must change on a node so that it takes no part any more.
pub fn removal(prefix: &Prefix, present: &Annotations) -> BTreeMap<String, Option<String>> {
    let keys = WRITTEN.iter().map(|name| prefix.key(name));
    keys.filter(|key| present.contains_key(key))
        .map(|key| (key, None))
        .collect()
}

/// A node's subnets by family, whatever their order.
///
/// # Errors
/// A text that is no subnet, or a second one of a family.
pub fn subnets<'a>(cidrs: impl IntoIterator<Item = &'a str>) -> Result<Dual<IpNet>, String> {
    let mut subnets = Dual::default();
    for text in cidrs {
        let net: IpNet = text
            .parse()
            .map_err(|_| format!("podCIDR {text:?} is no subnet"))?;
        let family = Family::of_net(&net);
        if let Some(first) = subnets.get(family) {
            return Err(format!(
                "podCIDRs {first} and {text} are both {family}; there may be one of each family"
            ));
        }
        subnets.set(family, Some(net.trunc()));
    }
    Ok(subnets)
}

#[cfg(test)]
mod tests;
