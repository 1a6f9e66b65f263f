//! Taking a lease: an own one again where there is one, else a free subnet.

use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, TxnOp};
use tokio::time::{Instant, sleep};
use tweed_host::random;
use tweed_model::lease::Term;
use tweed_model::{Lease, SubnetKey, wire};

use super::client;
use super::etcd_lease::Attachment;
use super::grant::{Created, revision_of};
use super::listing::{self, Entry, Listing};
use super::network::Network;
use crate::backoff::jittered;
use crate::claim::{self, Claim, Survey};
use crate::{Request, StoreError};

/// Others may be quicker this many times. Each time means that one of them got a lease.
const ATTEMPTS: u32 = 30;
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn acquire(
    network: &Network,
    request: &Request,
) -> Result<(Lease, Attachment), StoreError> {
    let mut taking = Taking {
        network,
        request,
        value: wire::format_attrs(&request.attrs),
        granted: None,
    };
    let result = taking.run().await;
    let used = result
        .as_ref()
        .is_ok_and(|(_, attachment)| Some(attachment.id) == taking.granted);
    if let Some(id) = taking.granted.filter(|_| !used) {
        network.drop_etcd_lease(id).await;
    }
    result
}

struct Taking<'a> {
    network: &'a Network,
    request: &'a Request,
    value: String,
    /// The etcd lease for the new key, once one was needed.
    granted: Option<i64>,
}

impl Taking<'_> {
    async fn run(&mut self) -> Result<(Lease, Attachment), StoreError> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(jittered((LOOK_EVERY * attempt).min(LONGEST_PAUSE))).await;
            }
            let listing = listing::read(&self.network.cluster, &self.network.keys).await?;
            if let Some(taken) = self.attempt(&listing).await? {
                return Ok(taken);
            }
            tracing::debug!(attempt, "another node was quicker; looking again");
        }
        Err(StoreError::Contended { attempts: ATTEMPTS })
    }

    /// One try on what was listed; `None` if the world has moved on since.
    async fn attempt(
        &mut self,
        listing: &Listing,
    ) -> Result<Option<(Lease, Attachment)>, StoreError> {
        // An earlier try may have succeeded though its answer got lost.
        if let Some(entry) = listing.entries.values().find(|entry| self.made(entry)) {
            if claim::is_overruled(&entry.lease, &listing.leases()) {
                self.network.withdraw(&entry.lease.key, entry.id).await?;
                return Ok(None);
            }
            return Ok(Some(self.held(&entry.lease, entry.id)));
        }
        let unreadable: Vec<_> = listing.unreadable.keys().copied().collect();
        let survey = Survey::of(&listing.leases(), &unreadable, self.request);
        for (key, claim) in &survey.reuse {
            let Some(mut entry) = listing.entries.get(key).cloned() else {
                continue;
            };
            if *claim == Claim::Suspect {
                match self.abandoned(&entry).await? {
                    Some(revision) => entry.changed = revision,
                    None => continue,
                }
            }
            return self.reuse(listing, &survey, &entry, *claim).await;
        }
        self.create(listing, &survey).await
    }

    fn made(&self, entry: &Entry) -> bool {
        Some(entry.id) == self.granted && entry.value == self.value.as_bytes()
    }

    /// Asks the holder of an entry whether it lives. Answers the revision of the question if nobody did.
    async fn abandoned(&self, entry: &Entry) -> Result<Option<i64>, StoreError> {
        let name = self.network.keys.subnet(&entry.lease.key);
        let question = claim::question(&entry.lease.attrs, random::bits());
        let untouched = vec![Compare::mod_revision(
            name.clone(),
            CompareOp::Equal,
            entry.changed,
        )];
        let ask = vec![TxnOp::put(
            name.clone(),
            question,
            Some(PutOptions::new().with_ignore_lease()),
        )];
        let response = self
            .network
            .transact("ask for a lease's holder", untouched, ask)
            .await?;
        let asked = revision_of(&response);
        if !response.succeeded() {
            return Ok(None);
        }
        tracing::info!(lease = %entry.lease.key, "a lease looks like ours, but isn't quite; asking its holder");
        let deadline = Instant::now() + claim::ANSWER_TIME;
        while Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
            if self.last_change(&name).await? != Some(asked) {
                tracing::info!(lease = %entry.lease.key, "its holder answered: another node has our address or data");
                return Ok(None);
            }
        }
        Ok(Some(asked))
    }

    async fn last_change(&self, name: &str) -> Result<Option<i64>, StoreError> {
        let get = |client| async move { client::kv(&client).get(name, None).await };
        let response = self.network.cluster.call("look at a lease", get).await?;
        Ok(response.kvs().first().map(|pair| pair.mod_revision()))
    }

    async fn reuse(
        &mut self,
        listing: &Listing,
        survey: &Survey,
        entry: &Entry,
        claim: Claim,
    ) -> Result<Option<(Lease, Attachment)>, StoreError> {
        let key = entry.lease.key;
        let replaced = own_entries(listing, survey, Some(key));
        let id = match (entry.lease.term, claim) {
            (Term::Reserved, _) => 0,
            (Term::Leased, Claim::Own) if self.can_go_on(entry.id).await? => entry.id,
            (Term::Leased, _) => self.etcd_lease().await?,
        };
        let as_it_should = entry.id == id && entry.value == self.value.as_bytes();
        if !(as_it_should && replaced.is_empty())
            && self
                .network
                .replace(&key, entry.changed, &self.value, id, &replaced)
                .await?
                .is_none()
        {
            return Ok(None);
        }
        Ok(Some(self.held(&entry.lease, id)))
    }

    async fn create(
        &mut self,
        listing: &Listing,
        survey: &Survey,
    ) -> Result<Option<(Lease, Attachment)>, StoreError> {
        let chosen = survey
            .draw(self.request, random::bits())
            .map_err(|error| StoreError::Exhausted(error.to_string()))?;
        let key = SubnetKey(chosen);
        let id = self.etcd_lease().await?;
        let replaced = own_entries(listing, survey, None);
        match self
            .network
            .create(listing, &key, &self.value, id, &replaced)
            .await?
        {
            Created::Overtaken => Ok(None),
            Created::Yes(revision) => {
                let lease = Lease {
                    key,
                    attrs: self.request.attrs.clone(),
                    node: None,
                    created: revision.unsigned_abs(),
                    term: Term::Leased,
                };
                Ok(Some(self.held(&lease, id)))
            }
        }
    }

    /// Whether an etcd lease that an earlier run of this node left is good for this one, and still there.
    async fn can_go_on(&self, id: i64) -> Result<bool, StoreError> {
        let lasts = self.network.lasts(id).await?;
        let same_ttl =
            lasts.is_some_and(|lasts| lasts.granted.as_secs() == self.request.ttl.as_secs());
        Ok(same_ttl && self.network.renew(id).await?)
    }

    async fn etcd_lease(&mut self) -> Result<i64, StoreError> {
        if let Some(id) = self.granted {
            return Ok(id);
        }
        let id = self.network.new_etcd_lease(self.request.ttl).await?;
        self.granted = Some(id);
        Ok(id)
    }

    fn held(&self, lease: &Lease, id: i64) -> (Lease, Attachment) {
        let lease = Lease {
            attrs: self.request.attrs.clone(),
            ..lease.clone()
        };
        (
            lease,
            Attachment {
                id,
                ttl: self.request.ttl,
            },
        )
    }
}

/// The node's other leases, which go when it takes one.
fn own_entries<'a>(
    listing: &'a Listing,
    survey: &Survey,
    but: Option<SubnetKey>,
) -> Vec<&'a Entry> {
    let others = survey.own.iter().filter(|key| Some(**key) != but);
    others.filter_map(|key| listing.entries.get(key)).collect()
}
