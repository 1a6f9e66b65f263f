//! A session at work: what each piece of news means for the kernel, the files and the facts.

mod announcement;
mod bad_entries;
mod begun;
mod config;
mod held;
mod home;
mod looked_after;
mod passes;
mod peer_news;
mod plan;
mod unsaved;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use tokio::sync::Notify;
use tweed_model::{ClusterSnapshot, LocalNode};
use tweed_plan::Planner;
use tweed_reconcile::worker::{PassReport, Wake};
use tweed_state::Desired;
use tweed_store::Holding;

use super::asking::draw_again;
use super::common::Common;
use super::facts::Facts;
use super::keepers::subnet_file::{Content, SubnetFile};
use super::keepers::{Keeper, News};
use super::saved;
use super::session::Session;
use super::status::standing::Standing;
use crate::events::sentences;
use announcement::Announcement;
use bad_entries::BadEntries;
use begun::file;
use config::ChangedConfig;
use looked_after::{SessionKeepers, wanted};
use passes::{Passes, Stage};
use peer_news::{PeerNews, Peers};
use unsaved::Unsaved;

/// The moving parts of a session.
pub(super) struct Active {
    pub(super) session: Session,
    /// This node, with its host as it is now.
    node: LocalNode,
    /// The state that the kernel thread got last, and the leases from which it was computed.
    desired: Option<Arc<Desired>>,
    snapshot: Arc<ClusterSnapshot>,
    planner: Planner,
    passes: Passes,
    /// Networks of earlier configurations, until their routes are swept.
    former: BTreeSet<IpNet>,
    config: ChangedConfig,
    announcement: Announcement,
    /// A snapshot waits for what the uplink is.
    postponed: bool,
    unsaved: Unsaved,
    bad_entries: BadEntries,
    peer_news: PeerNews,
    keepers: SessionKeepers,
    /// State of the lease, as it was reported last.
    holding: Option<Holding>,
}

impl Active {
    /// Begins. `relist` asks the store for a fresh list.
    pub(super) fn begin(
        session: Session,
        common: &Common,
        facts: &mut Facts,
        subnet_file: &mut SubnetFile,
        relist: Arc<Notify>,
    ) -> Self {
        let now = Instant::now();
        session.remark();
        file(&session, common, facts);
        saved::save_lease(&common.state, &session.saved());
        let content = Content::new(
            &common.options.host.subnet_file,
            &session.config,
            &session.node,
            session.mtu,
            common.options.firewall.ip_masq,
        );
        subnet_file.prepare(content, now);
        let networks = session.networks();
        let mut former = common.former.clone();
        former.retain(|network| !networks.contains(network));
        Self {
            node: session.node.clone(),
            keepers: SessionKeepers::new(&session, &former, common, now),
            desired: None,
            snapshot: Arc::default(),
            planner: Planner::default(),
            passes: Passes::new(relist),
            former,
            config: ChangedConfig::default(),
            announcement: Announcement::default(),
            postponed: false,
            unsaved: Unsaved::default(),
            bad_entries: BadEntries::default(),
            peer_news: PeerNews::default(),
            holding: None,
            session,
        }
    }

    /// The store has given the lease that this session stands on.
    pub(super) fn confirm(&mut self, session: Session, common: &mut Common, facts: &mut Facts) {
        saved::save_lease(&common.state, &session.saved());
        self.keepers.uplink.wanted = wanted(&session);
        let host = session.node.host.clone();
        let news = self.node.host != host;
        let servers = session.servers.clone();
        self.keepers.host.update(servers, host);
        self.session = session;
        if news {
            self.take_host(common, facts);
        }
    }

    /// Whether the kernel thread has been told what is wanted.
    pub(super) fn is_planned(&self) -> bool {
        self.desired.is_some()
    }

    /// Why what stands in a snapshot ends the session. Where that depends on the uplink as it is now, the snapshot
    /// waits until that is known.
    pub(super) fn ends(
        &mut self,
        snapshot: &ClusterSnapshot,
        common: &mut Common,
    ) -> Option<String> {
        let session = &self.session;
        let uplink = &mut self.keepers.uplink;
        let config = self.config.look(session, snapshot);
        if config.is_none() {
            let asked = self.announcement.look((session, snapshot), uplink, common);
            self.postponed |= asked;
        }
        config
    }

    /// Whether a snapshot waits for what the uplink is.
    pub(super) fn is_postponed(&self) -> bool {
        self.postponed
    }

    /// Whether the snapshot that has waited may be taken now.
    pub(super) fn may_go_on(&mut self) -> bool {
        let over = self.postponed && !self.keepers.uplink.is_looking();
        self.postponed &= !over;
        over
    }

    /// Hands the state wanted for a snapshot to the kernel thread.
    pub(super) fn take_snapshot(
        &mut self,
        snapshot: &Arc<ClusterSnapshot>,
        common: &mut Common,
        facts: &mut Facts,
    ) {
        common.seniority.follow(snapshot);
        let before = self.desired.clone();
        let desired = self.plan(snapshot, common);
        // The kernel thread is at work from here on; what follows may take its time.
        let cluster = &mut facts.cluster;
        cluster.in_sync = snapshot.in_sync;
        cluster.peers = desired.peers;
        let forwarding = desired.forwarding.as_ref();
        let carried = forwarding.is_some_and(|all| !all.peers.is_empty());
        cluster.tunnelled = carried || !desired.state.fdb.is_empty();
        cluster.set_refused(&desired.refused);
        cluster.set_reserved(&desired.reserved, self.session.lease.key);
        cluster.broken.clone_from(&snapshot.broken);
        cluster.broken.extend(self.config.broken());
        let own = self.session.lease.key;
        cluster.known.take(own, snapshot, &desired);
        let mtu = self.session.mtu;
        cluster.probing.want((own, mtu), snapshot, &desired);
        // What is announced may differ from the own address by the operator's wish.
        if let Some(lease) = snapshot.leases.get(&own) {
            facts.session.public = lease.attrs.public;
        }
        let known = before.as_deref().map(|before| &before.refused);
        // The first list is no news.
        if let Some(refused) = known {
            let peers = |snapshot, refused| Peers {
                snapshot,
                own,
                refused,
            };
            let (before, now) = (
                peers(&self.snapshot, refused),
                peers(snapshot, &desired.refused),
            );
            self.peer_news
                .tell(&facts.events, before, now, Instant::now());
        }
        self.bad_entries.tell(
            &facts.events,
            (&desired.refused, known),
            (&snapshot.broken, &self.snapshot.broken),
            Instant::now(),
        );
        self.unsaved
            .add(snapshot.in_sync && *snapshot != self.snapshot);
        self.snapshot = Arc::clone(snapshot);
    }

    /// Why what others announce ends the session: they refuse our lease for a MAC that another one had first, as it may
    /// while ours was gone.
    pub(super) fn lost_mac(&self, common: &mut Common) -> Option<String> {
        if !self.snapshot.in_sync {
            return None;
        }
        let (family, first) = common.seniority.ahead_of(&self.session.lease.key)?;
        let identity = &self.session.node.identity;
        draw_again(common, identity).then(|| {
            let mac = identity.mac(family);
            format!(
                "the lease {first} had our VtepMAC {mac} first, as it may while ours was gone; drawing another one"
            )
        })
    }

    /// Plans again with the current facts of the host.
    fn take_host(&mut self, common: &mut Common, facts: &mut Facts) {
        self.node.host = self.keepers.host.host().clone();
        if self.is_planned() {
            self.take_snapshot(&Arc::clone(&self.snapshot), common, facts);
        }
    }

    /// Files the state of the lease; `confirmed` is whether the store has given it.
    pub(super) fn take_standing(&mut self, holding: &Holding, confirmed: bool, facts: &mut Facts) {
        let before = self.holding.as_ref();
        if before.is_none_or(|before| holding.is_news(before)) {
            let lease = &self.session.lease.key;
            facts.events.tell(match holding {
                Holding::Held if facts.lease.was_away() => sentences::store_back(),
                Holding::Held => sentences::lease_held(lease),
                Holding::Unsure { reason, .. } => sentences::store_away(reason),
                Holding::Lost { reason } => sentences::lease_lost(lease, reason),
                Holding::Taken { by } => sentences::lease_taken(lease, by),
            });
            self.holding = Some(holding.clone());
        }
        let standing = match holding {
            Holding::Unsure { .. } if !confirmed && !self.snapshot.in_sync => Standing::Saved,
            other => Standing::from(other),
        };
        let (error, since) = match holding {
            Holding::Unsure { reason, since } => (Some(reason.clone()), *since),
            _ => (None, Instant::now()),
        };
        facts.lease.set(standing, since);
        facts.lease.store_error = error;
    }

    /// Files what a pass did.
    pub(super) fn take_report(
        &mut self,
        report: &PassReport,
        common: &mut Common,
        facts: &mut Facts,
        subnet_file: &mut SubnetFile,
    ) {
        let outcome = &report.outcome;
        let desired = self.desired.as_ref();
        let ours = desired.is_some_and(|desired| Arc::ptr_eq(desired, &report.desired));
        let passes = &self.passes;
        common
            .pass_lines
            .tell(&facts.events, outcome, &passes.failures, passes.held.held());
        facts.kernel.add(outcome);
        self.passes.take(outcome, ours);
        if self.passes.confirmed {
            facts.cluster.known.confirm();
        }
        self.keepers.tx_checksum.after_pass(Instant::now());
        self.save_peers(common);
        self.open_to_pods(common, facts, subnet_file);
        let swept = ours && outcome.full && outcome.is_clean() && report.desired.prune;
        if swept && !self.former.is_empty() {
            // From now on another agent may have them.
            self.former.clear();
            common.former.clear();
            self.keepers.bridge.forget_former();
            self.take_snapshot(&Arc::clone(&self.snapshot), common, facts);
        }
    }

    /// Checks what gives no event. Returns why the session ends, if it does.
    pub(super) fn tick(
        &mut self,
        common: &mut Common,
        facts: &mut Facts,
        subnet_file: &mut SubnetFile,
    ) -> Option<String> {
        let now = Instant::now();
        for news in self.keepers.all().map(|keeper| keeper.look(facts, now)) {
            if let Some(reason) = news.and_then(|news| self.act(news, common, facts)) {
                return Some(reason);
            }
        }
        if let Some(reason) = self.may_return(common, facts) {
            return Some(reason);
        }
        self.open_to_pods(common, facts, subnet_file);
        self.bad_entries.sum_up(now);
        self.peer_news.sum_up(now);
        common.pass_lines.sum_up(now);
        self.passes.held.look(now);
        self.save_peers(common);
        None
    }

    /// When to [`tick`](Self::tick) without an event.
    pub(super) fn due(&mut self) -> Option<Instant> {
        let keepers = self.keepers.all().into_iter();
        let keepers = keepers.filter_map(|keeper| keeper.due()).min();
        let unsaved = self.unsaved.due().filter(|_| self.passes.confirmed);
        let held = self.passes.held.due();
        keepers.into_iter().chain(unsaved).chain(held).min()
    }

    /// The kernel says that uplink or default route have changed.
    pub(super) fn look_at_uplink(&mut self) {
        self.keepers.uplink.look_now(Instant::now());
        self.keepers.host.look_now();
    }

    /// The kernel says that addresses of the host have changed.
    pub(super) fn look_at_host(&mut self) {
        self.keepers.host.look_soon(Instant::now());
    }

    fn act(&mut self, news: News, common: &mut Common, facts: &mut Facts) -> Option<String> {
        match news {
            News::SessionEnds(reason) => return Some(reason),
            News::Host => self.take_host(common, facts),
            News::Attached => common.wake(Wake::Attached),
        }
        None
    }

    /// Has the subnet file written, by which pods can start, once packets of theirs would be carried.
    fn open_to_pods(&mut self, common: &Common, facts: &mut Facts, subnet_file: &mut SubnetFile) {
        let ours = self.session.backends.own().data_plane;
        let plane = common.data_plane.seen();
        let carried = !ours || plane.carries || plane.error.is_none();
        if self.passes.stage != Stage::Stands || !carried {
            return;
        }
        self.passes.stage = Stage::Open;
        subnet_file.open();
        subnet_file.look(facts, Instant::now());
        saved::save_run(&common.state, &common.options, &self.session.node);
    }

    /// Saves the peers if they changed. A list that the guard holds back does not replace them: a restarted agent knows of
    /// its data plane's peers by nothing else.
    fn save_peers(&mut self, common: &mut Common) {
        if self.passes.confirmed && self.unsaved.is_due(Instant::now()) {
            common.peers = Arc::new(self.peers());
            let (state, seniority) = (common.state.clone(), common.seniority.clone());
            let peers = Arc::clone(&common.peers);
            self.unsaved
                .save(move || saved::save_peers(&state, &peers, &seniority));
        }
    }

    /// What is to be saved. A subnet that no node has taken up is nobody's.
    fn peers(&self) -> ClusterSnapshot {
        let mut leases = self.snapshot.leases.clone();
        let desired = self.desired.iter();
        let reserved = desired.flat_map(|desired| desired.reserved.keys());
        for key in reserved.chain([&self.session.lease.key]) {
            leases.remove(key);
        }
        ClusterSnapshot {
            leases,
            ..ClusterSnapshot::default()
        }
    }
}
