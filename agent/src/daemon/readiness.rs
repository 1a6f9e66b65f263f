//! Decides from the facts whether this node's network works. Pure.

use std::time::{Duration, Instant};

use super::facts::Facts;
use super::status::parts::{CniStatus, Stops};
use super::status::standing::Standing;

/// The store may be out of reach for this long, from its last answer on, before the node is not ready.
const STORE_GRACE: Duration = Duration::from_secs(10);

/// Why pods on this node can't reach others at all. A peer that can't be programmed is no such reason, and neither is a
/// store out of reach; a lost lease is one, since nobody else knows the way to this node then.
pub fn network_down(facts: &Facts) -> Option<String> {
    let waiting = facts.waiting.as_ref();
    let waiting = waiting.map(|reason| format!("waiting: {reason}"));
    let blocked = facts.kernel.blocked;
    let blocked = blocked.then(|| match facts.kernel.failed.first() {
        Some(failed) => format!("kernel: {failed}"),
        None => "the kernel can't be programmed".to_owned(),
    });
    let file = match (&facts.subnet_file.path, &facts.subnet_file.error) {
        (_, Some(error)) => Some(format!("subnet file: {error}")),
        (None, None) => Some("the kernel is not programmed yet".to_owned()),
        (Some(_), None) => None,
    };
    // An accepted backend's is no such reason either: peers come by the own one.
    let accepted = facts.session.accepts.iter().any(|backend| backend == "udp");
    let carried = accepted || facts.data_plane.carries;
    let carrier = data_plane_error(facts).filter(|_| !carried);
    let lost = match &facts.lease.standing {
        Standing::Lost(reason) => Some(format!("lease lost: {reason}")),
        _ => None,
    };
    waiting
        .or(facts.no_uplink.clone())
        .or(blocked)
        .or(carrier)
        .or(file)
        .or(lost)
}

/// Why not everything is as it should be.
pub fn not_ready(facts: &Facts, now: Instant) -> Vec<String> {
    if let Some(waiting) = &facts.waiting {
        return vec![format!("waiting: {waiting}")];
    }
    let mut reasons = Vec::new();
    reasons.extend(lease(facts, now));
    if !facts.cluster.in_sync && !matches!(facts.lease.standing, Standing::Saved) {
        reasons.push("no full list of leases yet".to_owned());
    }
    reasons.extend(facts.no_uplink.clone());
    reasons.extend(data_plane_error(facts));
    reasons.extend(facts.cluster.answers.all_lost.clone());
    let failed = facts.kernel.failed.iter();
    reasons.extend(failed.map(|failed| format!("kernel: {failed}")));
    reasons.extend(facts.attached.failed.iter().cloned());
    let in_the_way = facts.warnings();
    let in_the_way = in_the_way.filter(|warning| keeps_from_ready(warning.stops, facts));
    reasons.extend(in_the_way.map(|warning| warning.text.clone()));
    reasons.extend(facts.earlier_subnet.clone());
    let held = facts.kernel.held.iter();
    reasons.extend(held.map(|held| format!("deletions held back: {held}")));
    if !facts.kernel.programmed && reasons.is_empty() {
        reasons.push("the kernel is not programmed yet".to_owned());
    }
    files(facts, &mut reasons);
    reasons
}

/// A lone node's packets need no way to others, direct routes need no tunnel, and peers of an accepted backend come by
/// another one.
fn keeps_from_ready(stops: Stops, facts: &Facts) -> bool {
    match stops {
        Stops::Nothing => false,
        Stops::Always => true,
        Stops::Forwarding => facts.cluster.peers > 0,
        Stops::Tunnel => facts.cluster.tunnelled && facts.session.accepts.is_empty(),
    }
}

fn lease(facts: &Facts, now: Instant) -> Option<String> {
    let overdue = |since: Instant| now.duration_since(since) > STORE_GRACE;
    match &facts.lease.standing {
        Standing::None => Some("no lease yet".to_owned()),
        Standing::Lost(reason) => Some(format!("lease lost: {reason}")),
        Standing::Taken(by) => Some(format!("lease {by}")),
        Standing::Unsure(reason) if facts.lease.unsure_since.is_some_and(overdue) => {
            Some(format!("store out of reach: {reason}"))
        }
        Standing::Saved => {
            let why = facts.lease.store_error.iter();
            let why: String = why.map(|why| format!(": {why}")).collect();
            Some(format!("the store has not confirmed the saved lease{why}"))
        }
        Standing::Unsure(_) | Standing::Held => None,
    }
}

fn files(facts: &Facts, reasons: &mut Vec<String>) {
    match &facts.subnet_file.error {
        Some(error) => reasons.push(format!("subnet file: {error}")),
        None if facts.subnet_file.path.is_none() && reasons.is_empty() => {
            reasons.push("the subnet file is not written yet".to_owned());
        }
        None => {}
    }
    match &facts.cni {
        Some(CniStatus {
            error: Some(error), ..
        }) => reasons.push(format!("CNI: {error}")),
        Some(CniStatus { list: None, .. }) if reasons.is_empty() => {
            reasons.push("the CNI network configuration list is not placed yet".to_owned());
        }
        _ => {}
    }
}

fn data_plane_error(facts: &Facts) -> Option<String> {
    let error = facts.data_plane.error.as_ref()?;
    Some(format!("data plane: {error}"))
}

#[cfg(test)]
mod tests;
