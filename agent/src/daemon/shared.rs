//! What the parts of the daemon's loop share, and what all of them look after.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::{Notify, mpsc};
use tweed_attach::live::Restorer;
use tweed_host::random;
use tweed_model::{Seniority, SubnetKey};
use tweed_plan::Choices;
use tweed_reconcile::worker::{Report, Wake};

use super::cni::CniFiles;
use super::data_plane::DataPlane;
use super::redrawn::Redrawn;
use super::saved;
use super::session::outcome::log_outcome;
use super::status::SharedStatus;
use super::surroundings::Surroundings;
use crate::config::options::Options;
use crate::files::state_dir::{SavedLease, StateDir};
use crate::host::facts::HostFacts;
use crate::host::uplink::{self, Choice, Known};

/// How often files, sysctls and workers, which give no netlink event, are looked at.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// What the parts of the loop share.
pub struct Daemon {
    pub(super) options: Options,
    pub(super) choices: Choices,
    pub(super) state: StateDir,
    pub(super) status: SharedStatus,
    pub(super) kernel: Sender<Wake>,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    pub(super) uplink_changed: Arc<Notify>,
    /// Networks of earlier configurations whose routes may still be there.
    pub(super) former: BTreeSet<IpNet>,
    /// What is known of addresses: what this node was known by, and the others.
    pub(super) known: Known,
    /// The choice that was logged last.
    pub(super) announced_uplink: RefCell<Option<Choice>>,
    /// The lease that the last session lost for good: what stands under its key is somebody else's.
    pub(super) given_up: Option<SubnetKey>,
    /// Which lease announced what first, over all sessions.
    pub(super) seniority: Seniority,
    /// The MACs that this process has drawn because others had the old ones first.
    pub(super) redrawn: Option<Redrawn>,
    /// Looks after the plugins' nftables table.
    pub(super) restorer: Restorer,
    /// Looks for what is in the way of pods' packets.
    pub(super) surroundings: Surroundings,
    /// Carries packets, where the backend has no kernel device that does.
    pub(super) data_plane: DataPlane,
    /// Looks after the files for the container runtime, where that was asked for.
    pub(super) cni: Option<CniFiles>,
}

impl Daemon {
    /// Takes over what an earlier process of this node was known by, and whom it knew.
    pub(super) fn remember(&mut self, saved: Option<&SavedLease>) {
        if self.known.before.is_empty() {
            self.known.before = saved.map(SavedLease::known_by).unwrap_or_default();
        }
        let peers = saved::peers(&self.state).leases;
        let addrs = peers.values().flat_map(|peer| peer.attrs.public.values());
        self.known.others.extend(addrs);
    }

    /// Logs a choice of the uplink, once as long as it stays the same.
    pub(super) fn announce_uplink(&self, choice: &Choice) {
        if self.announced_uplink.borrow().as_ref() != Some(choice) {
            uplink::announce(choice);
            self.announced_uplink.replace(Some(choice.clone()));
        }
    }

    pub(super) fn wake(&self, wake: Wake) {
        // The thread ends only with the daemon.
        let _ = self.kernel.send(wake);
    }

    /// Puts back what the plugins had in their nftables table, if another program has flushed it.
    pub(super) fn restore_plugins_table(&mut self) {
        match self.restorer.look() {
            Ok(0) => {}
            Ok(attachments) => {
                tracing::warn!(
                    attachments,
                    "another program flushed the plugins' nftables table; restored"
                );
            }
            Err(error) => {
                tracing::debug!(%error, "the plugins' nftables table can't be looked after now")
            }
        }
    }

    /// Tells what is in the way of these networks' packets.
    pub(super) fn look_around(&mut self, networks: &[IpNet]) {
        let now = Instant::now();
        if let Some(news) = self.surroundings.look(networks, &self.restorer, now) {
            self.status.update(|status| status.warnings = news);
        }
    }

    /// Places the files for the container runtime; the list only when a pod could start now.
    pub(super) fn look_after_cni(&mut self, pods_can_start: bool) {
        let Some(cni) = &mut self.cni else { return };
        let subnet_file = self.options.host.subnet_file.exists();
        if let Some(news) = cni.look(pods_can_start, subnet_file, Instant::now()) {
            self.status.update(|status| status.cni = Some(news));
        }
    }

    /// Has packets carried where that is our affair.
    pub(super) fn look_after_data_plane(&self) {
        self.data_plane.look();
        let (error, carries) = (self.data_plane.error(), self.data_plane.carries());
        self.status.update(|status| {
            status.data_plane_error = error;
            status.data_plane_carries = carries;
        });
    }

    /// Tells what is wrong with the host's own network, once.
    pub(super) fn tell_host_facts(&self, found: &HostFacts) {
        let news = self.status.update(|status| {
            let news = status.host != found.missing;
            status.host.clone_from(&found.missing);
            news
        });
        for reason in found.missing.iter().filter(|_| news) {
            tracing::warn!(reason, "the host's own network");
        }
    }

    /// Waits before another attempt; logs a reason once as long as it stays the same.
    pub(super) async fn wait(&mut self, reason: &str, time: Duration) {
        let new = self.status.update(|status| {
            let new = status.waiting.as_deref() != Some(reason);
            status.waiting = Some(reason.to_owned());
            new
        });
        if new {
            tracing::warn!(reason, "waiting");
        }
        let over = tokio::time::sleep(time.mul_f64(0.8 + 0.4 * random::fraction()));
        tokio::pin!(over);
        let mut tick = tokio::time::interval(TICK);
        loop {
            // The kernel thread repairs what it was last told to, and its reports must not pile up meanwhile.
            tokio::select! {
                () = &mut over => return,
                _ = tick.tick() => self.look_after_data_plane(),
                Some(report) = self.reports.recv() => {
                    let outcome = &report.outcome;
                    self.data_plane.want(outcome.forwarding.as_ref());
                    log_outcome(outcome, &outcome.failed, None);
                    self.status.update(|status| status.add_outcome(outcome));
                }
            }
        }
    }

    pub(super) fn notify_ready(&self) {
        // Without systemd there is nobody to notify.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
}
