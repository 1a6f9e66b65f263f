//! What plugins are for, ours and others.

/// What a plugin is for. It decides which plugins may call it: one that calls another of its own kind could go round
/// for ever.
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

/// The roles of well-known plugins that are not in this binary. One that is added to the binary leaves this list.
const OTHERS: [(&str, Role); 1] = [("whereabouts", Role::Addresses)];

/// Plugins that hand out addresses and work through the container's interface for it.
const THROUGH_THE_INTERFACE: [&str; 1] = ["dhcp"];

/// Whether a plugin needs the container's interface, to release an address too.
pub(crate) fn needs_interface(name: &str) -> bool {
    THROUGH_THE_INTERFACE.contains(&name)
}

/// The role of a plugin that is not in this binary, if it is well known.
pub(crate) fn of_others(name: &str) -> Option<Role> {
    let (_, role) = OTHERS.iter().find(|(known, _)| *known == name)?;
    Some(*role)
}
