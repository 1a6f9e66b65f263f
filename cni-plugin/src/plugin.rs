//! What a plugin is, and which ones are in this binary.

use std::fmt::Debug;

use crate::bridge::Bridge;
use crate::flannel::Flannel;
use crate::host_local::HostLocal;
use crate::loopback::Loopback;
use crate::portmap::PortMap;
use crate::spec::{Call, CniError, CniResult, NetConf};

/// The verbs of a plugin. Environment, version and names are valid when they are called, and the container's
/// namespace, where there is one, is not our own.
pub(crate) trait Plugin {
    /// Reads and checks the whole configuration. Nothing is done yet.
    ///
    /// # Errors
    /// The first key whose value can't be, with what is there and what is wanted.
    fn configuration(&self, call: &Call, conf: &NetConf) -> Result<Box<dyn Debug>, CniError>;

    /// Attaches a container.
    ///
    /// # Errors
    /// Nothing is left behind.
    fn add(&self, call: &Call, conf: &NetConf) -> Result<CniResult, CniError>;

    /// Detaches a container. What is gone already is no error.
    ///
    /// # Errors
    /// Something is there and can't be removed; everything else has been removed.
    fn del(&self, call: &Call, conf: &NetConf) -> Result<(), CniError>;

    /// Verifies an attachment against the result of its ADD.
    ///
    /// # Errors
    /// The first thing that is not as it was.
    fn check(&self, call: &Call, conf: &NetConf) -> Result<(), CniError>;

    /// Removes what belongs to this network but to no valid attachment.
    ///
    /// # Errors
    /// As for [`Plugin::del`]; or nothing says what is valid.
    fn gc(&self, call: &Call, conf: &NetConf) -> Result<(), CniError>;

    /// Whether ADD could work now.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    fn status(&self, call: &Call, conf: &NetConf) -> Result<(), CniError>;
}

/// What a plugin is for. It decides who may call it: a plugin that calls one of its own kind could go round for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Makes the container's interface.
    Interface,
    /// Hands out addresses.
    Addresses,
    /// Comes behind another in the list and changes its result.
    Chained,
    /// Works out another's configuration.
    Meta,
}

/// The roles of the plugins that everybody knows by name, whether they are ours or not.
const ROLES: [(&str, Role); 21] = [
    ("tweed", Role::Meta),
    ("flannel", Role::Meta),
    ("bridge", Role::Interface),
    ("dummy", Role::Interface),
    ("host-device", Role::Interface),
    ("ipvlan", Role::Interface),
    ("loopback", Role::Interface),
    ("macvlan", Role::Interface),
    ("ptp", Role::Interface),
    ("tap", Role::Interface),
    ("vlan", Role::Interface),
    ("host-local", Role::Addresses),
    ("static", Role::Addresses),
    ("dhcp", Role::Addresses),
    ("whereabouts", Role::Addresses),
    ("portmap", Role::Chained),
    ("bandwidth", Role::Chained),
    ("firewall", Role::Chained),
    ("sbr", Role::Chained),
    ("tuning", Role::Chained),
    ("vrf", Role::Chained),
];

/// What a plugin of this name is for, if it is one that everybody knows.
pub(crate) fn role(name: &str) -> Option<Role> {
    let (_, role) = ROLES.iter().find(|(known, _)| *known == name)?;
    Some(*role)
}

/// The plugins of this binary, by the names they answer to.
pub(crate) const PLUGINS: [(&str, &'static dyn Plugin); 6] = [
    ("tweed", &Flannel),
    ("flannel", &Flannel),
    ("bridge", &Bridge),
    ("host-local", &HostLocal),
    ("loopback", &Loopback),
    ("portmap", &PortMap),
];

/// The plugin of a name.
pub(crate) fn find(name: &str) -> Option<&'static dyn Plugin> {
    let (_, plugin) = PLUGINS.iter().find(|(known, _)| *known == name)?;
    Some(*plugin)
}

/// Their names, for messages.
pub(crate) fn names() -> String {
    let names: Vec<&str> = PLUGINS.iter().map(|(known, _)| *known).collect();
    names.join(", ")
}
