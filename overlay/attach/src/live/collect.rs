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
mod scope;

use std::collections::BTreeSet;

use tweed_netlink::{Netfilter, Netlink};

use crate::Owner;
use claims::Claims;
pub use scope::{Collected, Scope};

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
