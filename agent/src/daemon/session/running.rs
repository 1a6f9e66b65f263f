//! The moving parts of a session: what each piece of news means for the kernel, the files and the status.

mod config;
mod host_facts;
mod identity;
mod tx_checksum;
mod uplink;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::Notify;
use tweed_model::{ClusterSnapshot, LocalNode};
use tweed_netlink::AddrInfo;
use tweed_plan::{Choices, desired};
use tweed_reconcile::Failure;
use tweed_reconcile::worker::{Report, Wake};
use tweed_state::Desired;
use tweed_store::Holding;

use crate::daemon::bootstrap::Session;
use crate::daemon::outputs::{self, SubnetFile, join};
use crate::daemon::peers::Known;
use crate::daemon::saved;
use crate::daemon::session::bad_entries::BadEntries;
use crate::daemon::session::bridge::Bridge;
use crate::daemon::session::held::HeldBack;
use crate::daemon::session::outcome::log_outcome;
use crate::daemon::shared::Daemon;
use crate::daemon::status::Standing;
use crate::host::uplink::Wanted;

/// Peers are saved at most this often.
const SAVE: Duration = Duration::from_secs(5);
/// How long a session waits for its first list before it goes on with the saved peers.
const FIRST_LIST: Duration = Duration::from_secs(2);

/// The moving parts of a session.
pub(super) struct Running<'a> {
    session: &'a Session,
    /// This node, with its host as it is now.
    node: LocalNode,
    /// The host's addresses when it was last looked at, and when that was.
    addresses: Vec<AddrInfo>,
    addresses_read: Instant,
    started: Instant,
    subnet_file: SubnetFile,
    desired: Option<Arc<Desired>>,
    snapshot: Arc<ClusterSnapshot>,
    /// The kernel has been programmed in this session.
    kernel_stands: bool,
    /// And packets are carried: the subnet file may be written.
    programmed: bool,
    subnet_file_stands: bool,
    unsaved: bool,
    /// A pass has been made for the snapshot, and held nothing back.
    believed: bool,
    saved_at: Option<Instant>,
    /// What stands in the store as configuration, if that is not used, and why.
    bad_config: Option<(Option<String>, String)>,
    /// Networks of earlier configurations, until their routes are swept.
    former: BTreeSet<IpNet>,
    /// Why there is no uplink now, where there is none.
    no_uplink: Option<String>,
    /// When the uplink was last looked at without an event.
    uplink_read: Instant,
    /// How the uplink is chosen.
    wanted: Wanted,
    /// A full list of leases has been seen.
    listed: bool,
    /// Whether the sysctls read as wanted when they were last looked at.
    sysctls_held: bool,
    /// What the last pass could not do: said once, not at each retry.
    failures: Vec<Failure>,
    held: HeldBack,
    /// The other nodes, for who asks.
    known: Known,
    bad_entries: BadEntries,
    bridge: Bridge,
    tx_checksum: tx_checksum::Look,
}

impl<'a> Running<'a> {
    pub(super) fn start(session: &'a Session, daemon: &Daemon, relist: Arc<Notify>) -> Self {
        let (config, node) = (&session.config, &session.node);
        tracing::info!(
            lease = %session.lease.key, backend = %session.backends, mtu = session.mtu,
            uplink = node.uplink.name, public = join(&node.public), confirmed = session.confirmed,
            "session starts"
        );
        daemon.status.update(|status| {
            status.waiting = None;
            status.subnets = node.subnets;
            status.public = node.public;
            status.uplink = Some(node.uplink.name.clone());
            status.backend = Some(config.backend_type.clone());
            status.accepts = session.backends.accepted().map(str::to_owned).collect();
            let vxlan = session
                .backends
                .tunnel_ports()
                .values()
                .any(Option::is_some);
            let trust = daemon.options.firewall.trust();
            status.trust = vxlan.then(|| trust.to_owned());
            status.mtu = Some(session.mtu);
            status.subnet_file = None;
            status.no_uplink = None;
            status.kernel.programmed = false;
        });
        saved::save_lease(&daemon.state, &session.saved());
        let path = &daemon.options.host.subnet_file;
        let ip_masq = daemon.options.firewall.ip_masq;
        let mut former = daemon.former.clone();
        former.retain(|network| config.pools.values().all(|pool| pool.network != *network));
        Self {
            session,
            node: node.clone(),
            addresses: Vec::new(),
            addresses_read: Instant::now(),
            started: Instant::now(),
            subnet_file: SubnetFile::new(path, config, node, session.mtu, ip_masq),
            desired: None,
            snapshot: Arc::default(),
            kernel_stands: false,
            programmed: false,
            subnet_file_stands: false,
            unsaved: false,
            believed: false,
            saved_at: None,
            bad_config: None,
            former,
            no_uplink: None,
            uplink_read: Instant::now(),
            wanted: Self::wanted(session),
            listed: false,
            sysctls_held: true,
            failures: Vec::new(),
            held: HeldBack::new(relist),
            known: Known::default(),
            bad_entries: BadEntries::default(),
            bridge: Bridge::default(),
            tx_checksum: tx_checksum::Look::of(session.backends.tx_checksum()),
        }
    }

    /// Hands the state wanted for a snapshot to the kernel thread.
    pub(super) fn take_snapshot(&mut self, snapshot: &Arc<ClusterSnapshot>, daemon: &mut Daemon) {
        let session = self.session;
        let choices = Choices {
            former: self.former.clone(),
            ..daemon.choices.clone()
        };
        daemon.seniority.follow(snapshot);
        let desired = desired(
            &session.config,
            &session.backends,
            &self.node,
            &choices,
            snapshot,
            &daemon.seniority,
        );
        let before = self.desired.clone();
        let desired = match &before {
            Some(before) if **before == desired => Arc::clone(before),
            _ => {
                let desired = Arc::new(desired);
                self.desired = Some(Arc::clone(&desired));
                self.believed = false;
                daemon.wake(Wake::Desired(Arc::clone(&desired)));
                desired
            }
        };
        // The kernel thread is at work from here on; what follows may take its time.
        daemon.status.update(|status| {
            status.in_sync = snapshot.in_sync;
            // What is announced may differ from the own address by the operator's wish.
            if let Some(own) = snapshot.leases.get(&session.lease.key) {
                status.public = own.attrs.public;
            }
            status.peers = desired.peers;
            status.set_refused(&desired.refused);
            status.broken.clone_from(&snapshot.broken);
            let config = self.bad_config.iter();
            let config = config.map(|(_, reason)| ("config".to_owned(), reason.clone()));
            status.broken.extend(config);
        });
        self.known.take(session.lease.key, snapshot, &desired);
        daemon
            .status
            .update(|status| status.known = self.known.clone());
        let known = before.as_deref().map(|before| &before.refused);
        self.bad_entries.log(
            (&desired.refused, known),
            (&snapshot.broken, &self.snapshot.broken),
            Instant::now(),
        );
        self.unsaved |= snapshot.in_sync && *snapshot != self.snapshot;
        self.snapshot = Arc::clone(snapshot);
    }

    pub(super) fn take_standing(&self, holding: &Holding, daemon: &Daemon) {
        match holding {
            Holding::Held => tracing::info!(lease = %self.session.lease.key, "lease held"),
            Holding::Unsure { reason } => tracing::warn!(reason, "the store is out of reach"),
            Holding::Lost { reason } => tracing::warn!(reason, "lease lost, taking it back"),
            Holding::Taken { by } => tracing::error!(by = join(by), "lease taken by another node"),
        }
        let standing = match holding {
            Holding::Unsure { .. } if !self.session.confirmed && !self.snapshot.in_sync => {
                Standing::Saved
            }
            other => Standing::from(other),
        };
        daemon
            .status
            .update(|status| status.set_lease(standing, Instant::now()));
    }

    pub(super) fn take_report(&mut self, report: &Report, daemon: &mut Daemon) {
        let ours = self
            .desired
            .as_ref()
            .is_some_and(|desired| Arc::ptr_eq(desired, &report.desired));
        let outcome = &report.outcome;
        daemon.data_plane.want(outcome.forwarding.as_ref());
        log_outcome(outcome, &self.failures, self.held.held());
        self.failures.clone_from(&outcome.failed);
        daemon.status.update(|status| status.add_outcome(outcome));
        self.held.take(outcome.held, Instant::now());
        self.believed = ours && outcome.held.is_none();
        if self.believed {
            self.known.believe();
            daemon
                .status
                .update(|status| status.known = self.known.clone());
        }
        self.look_at_tx_checksum(daemon, true);
        self.save_peers(daemon);
        // Whatever could be programmed is: a peer that can't be must not keep pods from starting.
        self.kernel_stands |= ours && !outcome.blocked;
        self.open_to_pods(daemon);
        let swept = ours && outcome.full && outcome.is_clean() && report.desired.prune;
        if swept && !self.former.is_empty() {
            // From now on another agent may have them.
            self.former.clear();
            daemon.former.clear();
            self.take_snapshot(&Arc::clone(&self.snapshot), daemon);
        }
    }

    pub(super) fn tick(&mut self, snapshot: &Arc<ClusterSnapshot>, daemon: &mut Daemon) {
        if self.desired.is_none() && self.started.elapsed() >= FIRST_LIST {
            tracing::warn!("no list of leases yet, going on with the saved peers");
            self.take_snapshot(snapshot, daemon);
        }
        if self.programmed {
            self.write_subnet_file(daemon);
        } else {
            self.open_to_pods(daemon);
        }
        self.look_at_sysctls(daemon);
        self.look_around(daemon);
        self.look_at_bridge(daemon);
        self.look_at_tx_checksum(daemon, false);
        self.bad_entries.sum_up(Instant::now());
        self.held.look(Instant::now());
        self.save_peers(daemon);
    }

    /// Says that pods can start, once packets of theirs would be carried.
    fn open_to_pods(&mut self, daemon: &Daemon) {
        let ours = self.session.backends.rely_on_data_plane();
        let plane = &daemon.data_plane;
        let carried = !ours || plane.carries() || plane.error().is_none();
        if self.kernel_stands && carried && !self.programmed {
            self.programmed = true;
            self.write_subnet_file(daemon);
            daemon.notify_ready();
            saved::save_run(&daemon.state, &daemon.options, &self.session.node);
        }
    }

    /// Whether a pod that starts now gets a network that works.
    pub(super) fn pods_can_start(&self) -> bool {
        self.programmed && self.subnet_file_stands
    }

    /// Has a change of sysctls repaired, once: what can't be set is tried again with the pass that failed.
    fn look_at_sysctls(&mut self, daemon: &Daemon) {
        let Some(desired) = &self.desired else { return };
        let hold = outputs::sysctls_hold(desired.state.sysctls.iter());
        if self.sysctls_held && !hold {
            daemon.wake(Wake::Dirty);
        }
        self.sysctls_held = hold;
    }

    /// Looks at the devices' checksums if a pass was just made, or if it is time.
    fn look_at_tx_checksum(&mut self, daemon: &Daemon, after_pass: bool) {
        let names = || self.session.backends.vtep_names();
        if let Some(found) = self.tx_checksum.look(names, after_pass) {
            daemon.status.update(|status| status.tx_checksum = found);
        }
    }

    fn look_at_bridge(&mut self, daemon: &Daemon) {
        let pools = self.session.config.pools.values();
        let networks: Vec<_> = pools.map(|pool| pool.network).collect();
        let networks = [networks, self.former.iter().copied().collect()].concat();
        let usual = daemon.options.host.instance.is_usual();
        let own = &self.session.node.subnets;
        let Some(found) = self.bridge.look(own, &networks, usual, Instant::now()) else {
            return;
        };
        let news = daemon.status.update(|status| {
            let news = found.is_some() && status.earlier_subnet != found;
            status.earlier_subnet.clone_from(&found);
            news
        });
        if news && let Some(reason) = found {
            tracing::warn!(reason, "new pods can't start");
        }
    }

    /// Saves the peers if they changed, and not so often that a busy cluster wears out the disk. What the guard does not
    /// believe does not replace them: a restarted agent knows of its data plane's peers by nothing else.
    fn save_peers(&mut self, daemon: &Daemon) {
        if self.unsaved && self.believed && self.saved_at.is_none_or(|at| at.elapsed() >= SAVE) {
            self.unsaved = false;
            self.saved_at = Some(Instant::now());
            let own = self.session.lease.key;
            saved::save_peers(&daemon.state, &self.snapshot, own, &daemon.seniority);
        }
    }

    fn write_subnet_file(&mut self, daemon: &Daemon) {
        let path = self.subnet_file.path().display().to_string();
        let (file, error) = match self.subnet_file.ensure() {
            Ok(written) => {
                if written {
                    tracing::info!(path, "subnet file written");
                }
                (Some(path), None)
            }
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        self.subnet_file_stands = error.is_none();
        let news = daemon.status.update(|status| {
            status.subnet_file = file;
            let news = error.is_some() && status.subnet_file_error != error;
            status.subnet_file_error = error.clone();
            news
        });
        if news {
            tracing::error!(error, "subnet file not written");
        }
    }
}
