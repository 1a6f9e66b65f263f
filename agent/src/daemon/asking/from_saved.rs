//! A session from the saved state, without an answer of the store.

use tweed_model::{Family, Lease, Subnets};
use tweed_store::{OwnRecord, Request};

use super::confirm::networks_in;
use super::network::Network;
use super::prepare::{Asked, Asker};
use super::said::Said;
use crate::daemon::session::Session;
use crate::files::state_dir::SavedLease;

/// Whether what was saved may stand in for what the store has not said: nobody else is known to have its lease, and the
/// store has named no other network.
pub fn may_stand_in(asker: &Asker, said: &Said) -> bool {
    asker.saved.as_ref().is_some_and(|saved| {
        let other = |told| networks_in(told) != networks_in(&saved.config);
        asker.given_up != Some(saved.key) && !said.config.as_deref().is_some_and(other)
    })
}

/// The saved session, as far as this host can have it now; nothing where it may not stand in. Fails with the reason why
/// this node can't be a part of the saved network now.
pub fn from_saved(
    cut_by: Subnets,
    asker: Asker,
    said: &Said,
) -> Option<impl Future<Output = Result<Session, String>> + use<>> {
    if !may_stand_in(&asker, said) {
        return None;
    }
    let saved = asker.saved.clone()?;
    let config = said.config.clone();
    let servers = said.servers.clone();
    Some(async move {
        let asked = Asked {
            network: Network::read(config.unwrap_or_else(|| saved.config.clone()), cut_by)?,
            record: OwnRecord {
                wishes: saved.wishes,
                overwrites: saved.overwrites,
                announced: None,
            },
            servers,
        };
        let prepared = asker.prepare(&asked).await?;
        let lease = lease(cut_by, &saved, &prepared.request).ok_or(
            "the store is out of reach, and the saved lease doesn't fit the saved configuration",
        )?;
        Ok(prepared.session(asked, lease, cut_by))
    })
}

/// The saved lease with what is to be announced now, if it fits the configuration.
fn lease(cut_by: Subnets, saved: &SavedLease, request: &Request) -> Option<Lease> {
    let fits = |family: Family| match (request.pools.get(family), saved.key.0.get(family)) {
        (Some(pool), Some(subnet)) => cut_by.fit(pool, subnet),
        (None, None) => true,
        _ => false,
    };
    Family::BOTH.into_iter().all(fits).then(|| Lease {
        key: saved.key,
        attrs: request.attrs.clone(),
        node: None,
        created: saved.created,
        term: saved.term,
    })
}
