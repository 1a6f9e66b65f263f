//! What containers have left that are gone without DEL: reservations, devices that limit, forwarding rules. It is removed
//! as their plugins would, had a runtime called GC. Their records, and what the plugins' table has of them, are removed by
//! the look at attachments. Files that a plugin acts upon, running with all rights, are left to the runtime.
//!
//! A container is gone if its network namespace surely is ([`is_surely_gone`](super::is_surely_gone)), every path that is
//! known of it, and the host has no end of its interface. One of which no path is known stays, and one whose path can't be
//! looked at from here. Two collections in a row must find a container gone before anything of it is removed.

mod claims;
mod kernel;
mod reservations;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tweed_netlink::{Netfilter, Netlink};

use crate::Owner;
use claims::Claims;

/// The networks that are looked at, and the folders in which something of them may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Names of networks. Nothing of another one is touched.
    pub networks: BTreeSet<String>,
    /// Folders with a folder of reservations for each network.
    pub reservations: BTreeSet<PathBuf>,
    /// The plugins' records.
    pub records: PathBuf,
    /// The results that the runtime's library keeps.
    pub results: PathBuf,
}

/// What a collection has found and removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Attachments of containers that are gone, for the next collection.
    pub gone: BTreeSet<Owner>,
    /// Addresses that are free again.
    pub addresses: u64,
    /// Devices that limited what a container sends.
    pub devices: u64,
    /// Attachments for which nothing is forwarded any more.
    pub rules: u64,
    /// What could not be removed, and why.
    pub errors: Vec<String>,
}

impl Collected {
    /// All that was removed.
    pub fn total(&self) -> u64 {
        self.addresses + self.devices + self.rules
    }

    fn note<T>(&mut self, what: &Path, done: Result<T, impl std::fmt::Display>) -> Option<T> {
        done.map_err(|error| self.errors.push(format!("{}: {error}", what.display())))
            .ok()
    }
}

/// Looks, and removes what the containers have left that the collection before found gone too. May wait some seconds for
/// plugins that work on the same reservations.
pub fn collect(scope: &Scope, gone_before: &BTreeSet<Owner>) -> Collected {
    let mut collected = Collected::default();
    if scope.networks.is_empty() {
        return collected;
    }
    let (mut netlink, mut netfilter) = match (Netlink::open(), Netfilter::open()) {
        (Ok(netlink), Ok(netfilter)) => (netlink, netfilter),
        (Err(error), _) | (_, Err(error)) => {
            collected.errors.push(format!("netlink: {error}"));
            return collected;
        }
    };
    let links = match netlink.links() {
        Ok(links) => links,
        Err(error) => {
            collected.errors.push(error.to_string());
            return collected;
        }
    };
    let claims = Claims::read(scope, &links);
    let gone = claims.gone();
    let doomed: BTreeSet<Owner> = gone.intersection(gone_before).cloned().collect();
    if !doomed.is_empty() {
        reservations::remove(scope, &claims, &doomed, &mut collected);
        kernel::devices(&mut netlink, &links, &claims, &doomed, &mut collected);
        kernel::rules(&mut netfilter, &scope.records, &doomed, &mut collected);
    }
    collected.gone = gone;
    collected
}

#[cfg(test)]
mod tests;
