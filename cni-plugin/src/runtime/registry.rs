//! What plugins are for, ours and others.

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
