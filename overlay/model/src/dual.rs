//! One value per address family. Code that treats both families alike is written once, over [`Dual`].

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families, IPv4 first: the order of every file and table of flannel's.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The family of an address.
    pub fn of(addr: &IpAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The family of a prefix.
    pub fn of_net(net: &IpNet) -> Self {
        Self::of(&net.addr())
    }

    /// The length of an address in bits: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// An optional value for each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dual<T> {
    /// The IPv4 value.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub v4: Option<T>,
    /// The IPv6 value.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub v6: Option<T>,
}

fn none<T>() -> Option<T> {
    None
}

impl<T> Default for Dual<T> {
    fn default() -> Self {
        Self { v4: None, v6: None }
    }
}

impl<T> Dual<T> {
    /// The value of one family.
    pub fn get(&self, family: Family) -> Option<&T> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// The value of one family, to change.
    pub fn get_mut(&mut self, family: Family) -> Option<&mut T> {
        match family {
            Family::V4 => self.v4.as_mut(),
            Family::V6 => self.v6.as_mut(),
        }
    }

    /// Sets or clears the value of one family.
    pub fn set(&mut self, family: Family, value: Option<T>) {
        match family {
            Family::V4 => self.v4 = value,
            Family::V6 => self.v6 = value,
        }
    }

    /// The families that have a value, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        Family::BOTH
            .into_iter()
            .filter_map(|family| self.get(family).map(|value| (family, value)))
    }

    /// The values, IPv4 first.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    /// Whether neither family has a value.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// Whether the family has a value.
    pub fn has(&self, family: Family) -> bool {
        self.get(family).is_some()
    }

    /// Applies `f` to each value.
    pub fn map<U>(&self, mut f: impl FnMut(Family, &T) -> U) -> Dual<U> {
        Dual {
            v4: self.v4.as_ref().map(|v| f(Family::V4, v)),
            v6: self.v6.as_ref().map(|v| f(Family::V6, v)),
        }
    }

    /// Applies `f` to each value and drops what it answers `None` for.
    pub fn filter_map<U>(&self, mut f: impl FnMut(Family, &T) -> Option<U>) -> Dual<U> {
        Dual {
            v4: self.v4.as_ref().and_then(|v| f(Family::V4, v)),
            v6: self.v6.as_ref().and_then(|v| f(Family::V6, v)),
        }
    }

    /// Applies a fallible `f` to each value; the first error wins.
    ///
    /// # Errors
    /// The first error that `f` returned.
    pub fn try_map<U, E>(
        &self,
        mut f: impl FnMut(Family, &T) -> Result<U, E>,
    ) -> Result<Dual<U>, E> {
        Ok(Dual {
            v4: self.v4.as_ref().map(|v| f(Family::V4, v)).transpose()?,
            v6: self.v6.as_ref().map(|v| f(Family::V6, v)).transpose()?,
        })
    }
}

impl Dual<IpAddr> {
    /// Files each address under its family; a later one of the same family replaces an earlier one.
    pub fn of_addrs(addrs: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut dual = Self::default();
        for addr in addrs {
            dual.set(Family::of(&addr), Some(addr));
        }
        dual
    }
}

impl Dual<IpNet> {
    /// Files each prefix under its family; a later one of the same family replaces an earlier one.
    pub fn of_nets(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let mut dual = Self::default();
        for net in nets {
            dual.set(Family::of_net(&net), Some(net));
        }
        dual
    }
}
