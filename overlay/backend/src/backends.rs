//! The backend that a node announces, and those whose peers it reaches beside it (`Backend.Accept`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;
use tweed_model::json::Object;
use tweed_model::nearest::unknown_key;
use tweed_model::{
    Admission, ConfigError, Dual, Family, LeaseAttrs, LocalNode, Mac, NetworkConfig,
};
use tweed_nft::Mark;

use super::backend::{Backend, KINDS, Kind};
use super::intent::Intent;
use super::joined::joined;
use super::options;
use super::outline::Outline;

const ACCEPT: &str = "Accept";

/// A network configuration's `Backend` object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backends {
    own: Member,
    accepted: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    backend: Backend,
    outline: Outline,
}

impl From<Backend> for Member {
    fn from(backend: Backend) -> Self {
        let outline = backend.outline();
        Self { backend, outline }
    }
}

impl Backends {
    /// Reads the `Backend` object of a network configuration. The second value lists keys that no backend knows.
    ///
    /// # Errors
    /// When the type is unknown, a key's value is not allowed, or the backends don't go together.
    pub fn parse(config: &NetworkConfig) -> Result<(Self, Vec<String>), ConfigError> {
        let kind = Kind::named(&config.backend_type)?;
        let options = Object::from(&config.backend);
        let own = kind.parse(&options, config)?;
        let mut unknown = unknown_keys("Backend", &options, &[kind.keys, &[ACCEPT]].concat());
        let mut backends = Self {
            own: own.into(),
            accepted: Vec::new(),
        };
        let entries = options.list(ACCEPT).map_err(options::in_backend)?;
        for (index, entry) in entries.unwrap_or_default().iter().enumerate() {
            let place = format!("Backend.{ACCEPT}[{index}]");
            unknown.extend(backends.accept(&place, entry, config)?);
        }
        Ok((backends, unknown))
    }

    /// Adds one entry of the list. Gives the keys that mean nothing.
    fn accept(
        &mut self,
        place: &str,
        entry: &Value,
        config: &NetworkConfig,
    ) -> Result<Vec<String>, ConfigError> {
        let own = self.own.outline.name;
        let together: Vec<&str> = together().collect();
        if !together.contains(&own) {
            return Err(ConfigError(format!(
                "Backend.{ACCEPT} is set, and Backend.Type is {own:?}; {ACCEPT} goes with {}",
                together.join(" and ")
            )));
        }
        let options = entry.as_object().map(Object::from).ok_or_else(|| {
            ConfigError(format!(
                "{place} is {entry}; it must be an object such as {{\"Type\": \"vxlan\"}}"
            ))
        })?;
        let within = |error: ConfigError| match error.0.strip_prefix("Backend.") {
            Some(rest) => ConfigError(format!("{place}.{rest}")),
            None => error,
        };
        let kind = options.string("Type").map_err(options::in_backend);
        let kind = kind.map_err(within)?.unwrap_or_default().to_lowercase();
        let taken = self.all().any(|backend| backend.name == kind);
        if taken || !together.contains(&kind.as_str()) {
            let free: Vec<&str> = together.into_iter().filter(|name| *name != own).collect();
            let free = free.join(" or ");
            return Err(ConfigError(format!(
                "{place}.Type is {kind:?}; beside {own} it must be {free}, once"
            )));
        }
        if let Some(inner) = options.get(ACCEPT) {
            return Err(ConfigError(format!(
                "{place}.{ACCEPT} is {inner}; a backend of the list must have none of its own"
            )));
        }
        let kind = Kind::named(&kind)?;
        let backend: Member = kind.parse(&options, config).map_err(within)?.into();
        let port = port_of(&backend.outline);
        if self.all().any(|other| port_of(other) == port) {
            let port = port.unwrap_or_default();
            return Err(ConfigError(format!(
                "{place}.Port is {port}, which is {own}'s; the two must differ"
            )));
        }
        self.accepted.push(backend);
        Ok(unknown_keys(place, &options, kind.keys))
    }

    /// The one that is announced.
    pub fn own(&self) -> &Outline {
        &self.own.outline
    }

    /// Those that are accepted beside the own one.
    pub fn accepted(&self) -> impl Iterator<Item = &Outline> {
        self.accepted.iter().map(|member| &member.outline)
    }

    /// All of them, the own one first.
    pub fn all(&self) -> impl Iterator<Item = &Outline> {
        std::iter::once(self.own()).chain(self.accepted())
    }

    /// What peers may announce in their leases, with the name of the backend that it means.
    pub fn spoken(&self) -> BTreeMap<&'static str, &'static str> {
        self.all()
            .map(|backend| (backend.wire_type, backend.name))
            .collect()
    }

    /// The MAC of a family's VTEP that one of these backends announced earlier, if it did.
    pub fn announced_mac(&self, attrs: &LeaseAttrs, family: Family) -> Option<Mac> {
        self.all()
            .find_map(|backend| backend.announced_mac(attrs, family))
    }

    /// The MTU of the pods' interfaces in bytes, given the uplink's: it fits every enabled family, whichever way a
    /// packet goes.
    ///
    /// # Errors
    /// When what is left would be below what IP needs (576 bytes, with IPv6 1280).
    pub fn mtu<T>(&self, uplink_mtu: u32, families: &Dual<T>) -> Result<u32, ConfigError> {
        let mut mtu = self.own().mtu(uplink_mtu, families)?;
        for backend in self.accepted() {
            mtu = mtu.min(backend.mtu(uplink_mtu, families)?);
        }
        Ok(mtu)
    }

    /// Names of the interfaces that are ours with these backends, whichever families are enabled.
    pub fn link_names(&self) -> BTreeSet<String> {
        self.all()
            .flat_map(|backend| backend.links.clone())
            .collect()
    }

    /// The tunnels by UDP port, and how the packet filter knows their packets.
    pub fn tunnels(&self) -> BTreeMap<u16, Option<Mark>> {
        let tunnels = self.all().filter_map(|backend| backend.tunnel.as_ref());
        tunnels
            .map(|tunnel| (tunnel.port, tunnel.mark.clone()))
            .collect()
    }

    /// What these backends want for these peers.
    pub fn intent(&self, node: &LocalNode, peers: &Admission) -> Intent {
        let direct = self.all().any(|backend| backend.direct);
        let members = std::iter::once(&self.own).chain(&self.accepted);
        let intents = members.map(|member| member.backend.intent(node, peers));
        joined(node, direct, intents)
    }
}

fn together() -> impl Iterator<Item = &'static str> {
    let kinds = KINDS.iter().filter(|kind| kind.together);
    kinds.map(|kind| kind.name)
}

fn port_of(backend: &Outline) -> Option<u16> {
    backend.tunnel.as_ref().map(|tunnel| tunnel.port)
}

fn unknown_keys(place: &str, options: &Object, known: &[&str]) -> Vec<String> {
    let keys = options.unknown_keys(known).into_iter();
    keys.map(|key| format!("{place}.{}", unknown_key(key, known)))
        .collect()
}

impl fmt::Display for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accepted: Vec<&str> = self.accepted().map(|backend| backend.name).collect();
        f.write_str(self.own().name)?;
        match &accepted[..] {
            [] => Ok(()),
            accepted => write!(f, ", accepts {}", accepted.join(", ")),
        }
    }
}
