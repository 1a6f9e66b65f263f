//! From nothing to a session: network configuration, uplink, identity, lease. The store is asked for them; a node that has
//! been here before has them saved, and starts from that while the store doesn't answer.

mod announcement;
mod confirm;
pub mod forecast;
mod from_saved;
mod identity;
mod network;
mod prepare;
mod said;
mod survey;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tweed_host::random;
use tweed_model::Lease;
use tweed_model::lease::Term;
use tweed_store::{Cluster, Held, LeaseStore, OwnRecord, StoreError, cut_by, servers_of};

use super::session::Session;
use crate::events::sentences;
use crate::host::facts;
pub(super) use confirm::networks_in;
pub(super) use from_saved::{from_saved, may_stand_in};
pub(super) use identity::draw_again;
use network::Network;
use prepare::Asked;
pub(super) use prepare::Asker;
pub(super) use said::{Said, Trouble};

/// Between two attempts.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Asks the store once, after a pause.
pub(super) async fn ask<S: LeaseStore>(
    store: &S,
    asker: Asker,
    said: Rc<RefCell<Said>>,
    pause: Duration,
) -> Result<(Session, S::Held), Trouble> {
    if !pause.is_zero() {
        tokio::time::sleep(pause.mul_f64(0.8 + 0.4 * random::fraction())).await;
    }
    let hosts = servers_of(store).await;
    said.borrow_mut().servers.extend(facts::literal(&hosts));
    let text = store.config().await.map_err(Trouble::from)?;
    said.borrow_mut().config = Some(text.clone());
    let network = Network::read(text, cut_by(store)).map_err(Trouble::Missing)?;
    let record = match store.cluster() {
        Some(cluster) => cluster.own().await.map_err(|error| match error {
            StoreError::Unavailable(_) => Trouble::Away(error.to_string()),
            _ => Trouble::Missing(error.to_string()),
        })?,
        None => OwnRecord::default(),
    };
    let servers = facts::addresses_of(hosts).await;
    said.borrow_mut().servers.extend(&servers);
    let asked = Asked {
        network,
        record,
        servers,
    };
    let prepared = asker.prepare(&asked).await.map_err(Trouble::Missing)?;
    let known = said.borrow().confirmed.clone();
    let saved = asker.saved.as_ref();
    let confirmed = confirm::changed_network(store, saved, &asked.network.text, known).await;
    said.borrow_mut().confirmed = confirmed.map_err(Trouble::Missing)?;
    let held = store.acquire(&prepared.request).await;
    let held = held.map_err(Trouble::from)?;
    let lease = held.lease().clone();
    tell_of_another(&lease, &asker);
    Ok((prepared.session(asked, lease, cut_by(store)), held))
}

/// A node that gets another subnet than it had says so, and which.
fn tell_of_another(lease: &Lease, asker: &Asker) {
    let before = asker.saved.as_ref().map(|saved| saved.key);
    if let Some(before) = before.filter(|key| *key != lease.key) {
        let reserved = lease.term == Term::Reserved;
        let event = sentences::subnet_changed(&before, &lease.key, reserved);
        asker.facts.lock().events.tell(event);
    }
}
