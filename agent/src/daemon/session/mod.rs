//! One session: follows the store, keeps the lease, hands each wanted state to the kernel thread, and files what comes
//! back. It ends when something it stands on changes; the kernel stays programmed all the while.

mod bad_entries;
mod bridge;
mod held;
pub(super) mod outcome;
mod running;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{Notify, watch};
use tweed_host::random;
use tweed_store::{Ended, Holding, LeaseStore, StoreError};

use super::bootstrap::Session;
use super::outputs::join;
use super::saved;
use super::shared::{Daemon, TICK};
use running::Running;

/// Between attempts to have a saved lease confirmed.
const CONFIRM: Duration = Duration::from_secs(1);

/// Drives a session to its end; returns why it ended.
pub async fn drive<S: LeaseStore>(store: &S, session: Session, daemon: &mut Daemon) -> String {
    let saved_peers = saved::peers(&daemon.state);
    let (snapshots, mut snapshot) = watch::channel(Arc::new(saved_peers));
    let initial = if session.confirmed {
        Holding::Held
    } else {
        unconfirmed()
    };
    let (standing, mut standings) = watch::channel(initial);
    let relist = Arc::new(Notify::new());
    let follow = store.follow(snapshots, Arc::clone(&relist));
    let keep = keep(store, &session, standing);
    tokio::pin!(follow, keep);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

    let pools = session.config.pools.values();
    let networks: Vec<IpNet> = pools.map(|pool| pool.network).collect();
    daemon.known.before = session.settled;
    let mut running = Running::start(&session, daemon, relist);
    // Without the store, the saved peers are all there is. With it, the first list is a moment away; but which peers our
    // own data plane carried before a restart no kernel object tells, and the guard has to know.
    let forgotten = session.backends.have_data_plane() && !daemon.data_plane.is_wanted();
    if !session.confirmed || forgotten && !snapshot.borrow().leases.is_empty() {
        running.take_snapshot(&snapshot.borrow_and_update().clone(), daemon);
    }
    running.take_standing(&standings.borrow_and_update().clone(), daemon);
    loop {
        tokio::select! {
            () = &mut follow => return "the store ended its watch".to_owned(),
            reason = &mut keep => {
                daemon.given_up = Some(session.lease.key);
                return reason;
            }
            Ok(()) = snapshot.changed() => {
                let snapshot = snapshot.borrow_and_update().clone();
                if let Some(reason) = running.changed_config(&snapshot) {
                    return reason;
                }
                if let Some(reason) = running.changed_announcement(&snapshot, daemon) {
                    return reason;
                }
                running.take_snapshot(&snapshot, daemon);
                if let Some(reason) = running.lost_mac(daemon) {
                    return reason;
                }
            }
            Ok(()) = standings.changed() => {
                let standing = standings.borrow_and_update().clone();
                running.take_standing(&standing, daemon);
            }
            Some(report) = daemon.reports.recv() => {
                running.take_report(&report, daemon);
                daemon.look_after_data_plane();
                daemon.look_after_cni(running.pods_can_start());
            }
            () = daemon.uplink_changed.notified() => {
                if let Some(reason) = running.changed_uplink(daemon) {
                    store.redial();
                    return reason;
                }
                running.look_around_now(daemon);
            }
            _ = tick.tick() => {
                if let Some(reason) = running.found_uplink(daemon) {
                    store.redial();
                    return reason;
                }
                running.tick(&snapshot.borrow().clone(), daemon);
                daemon.look_after_data_plane();
                daemon.restore_plugins_table();
                daemon.look_around(&networks);
                daemon.state.try_again();
                daemon.look_after_cni(running.pods_can_start());
            }
        }
    }
}

fn unconfirmed() -> Holding {
    Holding::Unsure {
        reason: "not confirmed yet".to_owned(),
    }
}

/// Has the lease confirmed if it is a saved one, then keeps it. Returns why it could not be kept.
async fn keep<S: LeaseStore>(
    store: &S,
    session: &Session,
    standing: watch::Sender<Holding>,
) -> String {
    let mut lease = session.lease.clone();
    let mut confirmed = session.confirmed;
    while !confirmed {
        match store.acquire(&session.request).await {
            Ok(held) if held.key == lease.key => {
                lease = held;
                confirmed = true;
            }
            Ok(held) => {
                return format!(
                    "the saved lease {} is gone, {} was leased instead",
                    lease.key, held.key
                );
            }
            Err(error @ StoreError::Exhausted(_)) => return error.to_string(),
            Err(error) => {
                let reason = error.to_string();
                standing.send_if_modified(|now| set(now, Holding::Unsure { reason }));
                tokio::time::sleep(CONFIRM.mul_f64(0.8 + 0.4 * random::fraction())).await;
            }
        }
    }
    standing.send_if_modified(|now| set(now, Holding::Held));
    match store.keep(&lease, standing).await {
        Ended::Taken(by) => format!("lease {} was taken by {}", lease.key, join(&by)),
        Ended::Changed(reason) => reason,
    }
}

fn set(now: &mut Holding, to: Holding) -> bool {
    let changed = *now != to;
    *now = to;
    changed
}
