//! Following all nodes: one list in pages, then every change after it. An interrupted watch is resumed where it ended;
//! when the API server no longer has what came in between, a fresh list is compared whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tweed_model::annotations::Prefix;
use tweed_model::{ClusterSnapshot, Dual, Lease, SubnetKey};

use super::config;
use super::network::{Network, PAGE};
use super::node::NodeRecord;
use super::own::explain;
use super::versions::{afresh_after, part};
use crate::backoff::Backoff;

/// How many waiting events become one snapshot, when many nodes change at once.
const COALESCED: usize = 256;
/// How often the file with the network configuration is read, and lapsed leases are let go.
const LOOK: Duration = Duration::from_secs(1);
/// A node whose annotations somebody removed or garbled stays a peer for this long: its agent puts them back at once.
const GRACE: Duration = Duration::from_secs(30);

pub(super) async fn follow(
    network: &Network,
    out: &watch::Sender<Arc<ClusterSnapshot>>,
    relist: &Notify,
) {
    let mut view = View::new(network, out);
    let mut trouble = Backoff::default();
    let mut said = String::new();
    loop {
        let started = Instant::now();
        if let Some(error) = follow_once(network, &mut view, relist, &mut trouble).await {
            say_once(&mut said, error);
            trouble.reset_after(started.elapsed());
            sleep(trouble.next()).await;
        }
    }
}

/// An outage of hours is one line, not one for each attempt.
fn say_once(said: &mut String, error: String) {
    if *said != error {
        tracing::warn!(
            error,
            "nodes are not watched; keeping what is known, and trying again"
        );
        *said = error;
    }
}

/// Watches until a fresh list is asked for, or another API server is to be tried: says why.
async fn follow_once(
    network: &Network,
    view: &mut View<'_>,
    relist: &Notify,
    trouble: &mut Backoff,
) -> Option<String> {
    let mut dialled = network.servers.dialled();
    let turn = network.servers.turn();
    let client = match network.servers.client().await {
        Ok(client) => client,
        Err(error) => return Some(error.to_string()),
    };
    let pages = watcher::Config::default().page_size(PAGE);
    let mut events = watcher(Api::<NodeRecord>::all(client), pages).boxed();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    let mut well = Instant::now();
    let mut restored = network.versions.restored();
    let (began, part) = (Instant::now(), part());
    loop {
        tokio::select! {
            () = relist.notified() => return None,
            _ = dialled.changed() => return None,
            _ = restored.changed() => return None,
            _ = look.tick() => {
                view.look();
                if began.elapsed() >= afresh_after(view.members.len(), part) {
                    return None;
                }
            }
            event = events.next() => {
                let mut next = Some(event?);
                let mut handled = 0;
                while let Some(event) = next.take() {
                    match event {
                        Ok(event) => view.take(event),
                        Err(error) => {
                            let failure = explain("watch nodes", &error);
                            say_once(&mut said, failure.text.clone());
                            if failure.code == 0 && network.servers.failed(turn) {
                                return Some(failure.text);
                            }
                            trouble.reset_after(well.elapsed());
                            sleep(trouble.next()).await;
                            well = Instant::now();
                        }
                    }
                    handled += 1;
                    if handled < COALESCED {
                        next = events.next().now_or_never().flatten();
                    }
                }
                view.publish();
            }
        }
    }
}

/// What a node is worth to the network.
#[derive(Clone, Debug, PartialEq)]
struct Member {
    /// Distinguishes a node from a later one of the same name.
    uid: Option<String>,
    lease: Option<Arc<Lease>>,
    /// What of it can't be read.
    wrong: Option<String>,
    /// Until when the lease stays though the node no longer announces it.
    lapses: Option<Instant>,
}

/// All nodes as they are known, and what others have been shown of them.
struct View<'a> {
    network: &'a Network,
    out: &'a watch::Sender<Arc<ClusterSnapshot>>,
    members: BTreeMap<String, Member>,
    /// Members of a list that isn't complete yet.
    listed: Option<BTreeMap<String, Member>>,
    families: Dual<()>,
    config: Option<String>,
    listings: u64,
    news: bool,
}

impl<'a> View<'a> {
    fn new(network: &'a Network, out: &'a watch::Sender<Arc<ClusterSnapshot>>) -> Self {
        let config = network.config();
        Self {
            network,
            out,
            members: BTreeMap::new(),
            listed: None,
            families: config::families(config.as_deref()),
            config,
            listings: 0,
            news: false,
        }
    }

    fn take(&mut self, event: Event<NodeRecord>) {
        self.network.servers.contact.answer();
        if let Event::InitApply(node) | Event::Apply(node) | Event::Delete(node) = &event {
            let version = node.resource_version();
            self.network.versions.saw(version.as_deref());
        }
        match event {
            Event::Init => self.listed = Some(BTreeMap::new()),
            Event::InitApply(node) => {
                let member = self.member(&node);
                if let Some(listed) = &mut self.listed {
                    listed.extend(member.map(|member| (node.name(), member)));
                }
            }
            Event::InitDone => {
                self.members = self.listed.take().unwrap_or_default();
                self.listings = self.network.next_listing();
                self.news = true;
            }
            Event::Apply(node) => {
                let member = self.member(&node);
                let before = self.members.get(&node.name());
                self.news |= before != member.as_ref();
                match member {
                    Some(member) => self.members.insert(node.name(), member),
                    None => self.members.remove(&node.name()),
                };
            }
            Event::Delete(node) => self.news |= self.members.remove(&node.name()).is_some(),
        }
    }

    fn member(&self, node: &NodeRecord) -> Option<Member> {
        let before = self.members.get(&node.name());
        judge(
            &self.network.options.prefix,
            &self.families,
            node,
            before,
            Instant::now(),
        )
    }

    /// What isn't told by the API server: the configuration's file, and time.
    fn look(&mut self) {
        let config = self.network.config();
        if config.is_some() && config != self.config {
            self.config = config;
            self.news = true;
        }
        let now = Instant::now();
        for member in self.members.values_mut() {
            if member.lapses.is_some_and(|at| at <= now) {
                member.lapses = None;
                member.lease = None;
                self.news = true;
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        if self.listings > 0 && self.listed.is_none() && std::mem::take(&mut self.news) {
            let mut snapshot = snapshot(&self.members, self.listings);
            snapshot.config.clone_from(&self.config);
            self.out.send_replace(Arc::new(snapshot));
        }
    }
}

/// What a node is worth now, given what it was.
fn judge(
    prefix: &Prefix,
    families: &Dual<()>,
    node: &NodeRecord,
    before: Option<&Member>,
    now: Instant,
) -> Option<Member> {
    let (lease, wrong) = match node.lease(prefix, families) {
        Ok(lease) => (lease.map(Arc::new), None),
        Err(why) => (None, Some(why)),
    };
    let mut member = Member {
        uid: node.uid(),
        lease,
        wrong,
        lapses: None,
    };
    if member.lease.is_none()
        && let Some(before) = before.filter(|before| before.uid == member.uid)
        && let Some(held) = &before.lease
        && keeps_subnets(node, held)
    {
        member.lease = Some(held.clone());
        member.lapses = Some(before.lapses.unwrap_or(now + GRACE));
    }
    (member.lease.is_some() || member.wrong.is_some()).then_some(member)
}

fn keeps_subnets(node: &NodeRecord, held: &Lease) -> bool {
    let subnets = node.subnets().unwrap_or_default();
    held.key
        .0
        .iter()
        .all(|(family, net)| subnets.get(family) == Some(net))
}

/// The members as a snapshot. Of two with the same subnets the older one holds them.
fn snapshot(members: &BTreeMap<String, Member>, listings: u64) -> ClusterSnapshot {
    let mut leases: BTreeMap<SubnetKey, Arc<Lease>> = BTreeMap::new();
    let mut broken = BTreeMap::new();
    for (name, member) in members {
        if let Some(why) = &member.wrong {
            broken.insert(format!("node {name}"), why.clone());
        }
        let Some(lease) = &member.lease else { continue };
        let Some(other) = leases.get(&lease.key) else {
            leases.insert(lease.key, lease.clone());
            continue;
        };
        let (older, younger) = if other.created <= lease.created {
            (other.clone(), lease)
        } else {
            (lease.clone(), other)
        };
        let [older_name, younger_name] =
            [&older, younger].map(|l| l.node.clone().unwrap_or_default());
        broken.insert(
            format!("node {younger_name}"),
            format!(
                "its podCIDR {} is that of the older node {older_name} too",
                lease.key
            ),
        );
        leases.insert(lease.key, older);
    }
    ClusterSnapshot {
        leases: leases.into_iter().collect(),
        broken,
        in_sync: true,
        listings,
        config: None,
    }
}

/// One full list.
pub(super) fn listed(
    prefix: &Prefix,
    families: &Dual<()>,
    nodes: &[NodeRecord],
    listings: u64,
) -> ClusterSnapshot {
    let now = Instant::now();
    let members = nodes.iter().filter_map(|node| {
        let member = judge(prefix, families, node, None, now)?;
        Some((node.name(), member))
    });
    snapshot(&members.collect(), listings)
}

#[cfg(test)]
mod tests;
