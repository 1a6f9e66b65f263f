//! Checks attachments of containers on the host. Separate from the passes over the network, since pods come and go while
//! nothing of the network changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use ipnet::IpNet;
use tweed_host::KernelError;
use tweed_kernel::Kernel;
use tweed_state::Op;
use tweed_state::attached::{Repair, UsedBridge, repairs};

use super::fights::Fights;
use super::outcome::Failure;

/// Findings and repairs of one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachedOutcome {
    /// The repairs that were made, in words.
    pub done: Vec<String>,
    /// Repairs that failed.
    pub failed: Vec<Failure>,
    /// The objects that were put right.
    pub repaired: BTreeSet<String>,
    /// Objects that another program keeps changing, found in this look.
    pub fights: Vec<String>,
    /// Every repair is one more round of a fight that was reported before.
    pub old_fights_only: bool,
    /// Bridges with ports, whatever made them; none if they could not be read.
    pub bridges: Option<Vec<UsedBridge>>,
    /// Attachments with a port on this host.
    pub attachments: usize,
    /// Attachments of running containers whose port is gone, and its name: only their runtime can make it.
    pub portless: BTreeMap<String, String>,
    /// The same, where it is unknown whether the container runs.
    pub doubtful: BTreeMap<String, String>,
    /// Folders with records that can't be read here, and why.
    pub out_of_reach: BTreeMap<PathBuf, String>,
    /// Something is missing that a plugin may be removing: another look is due soon.
    pub unsure: bool,
}

/// The repairs that are due now. Changes nothing.
pub(super) fn preview<K: Kernel>(
    kernel: &mut K,
    networks: &[IpNet],
) -> Result<Vec<Op>, KernelError> {
    let seen = kernel.attachments(networks)?;
    let repairs = repairs(&seen.wanted, &seen.there).into_iter();
    Ok(repairs.map(Op::Attached).collect())
}

/// Looks, and repairs.
pub(super) fn look<K: Kernel>(
    kernel: &mut K,
    fights: &mut Fights,
    networks: &[IpNet],
    now: Instant,
) -> Result<AttachedOutcome, KernelError> {
    let seen = kernel.attachments(networks)?;
    let mut repairs = repairs(&seen.wanted, &seen.there);
    repairs.retain(|repair| match repair {
        Repair::Masquerade(owner, _) | Repair::HostPorts(owner, _) => !seen.unsure.contains(owner),
        _ => true,
    });
    let mut outcome = AttachedOutcome {
        bridges: Some(seen.bridges),
        attachments: seen.wanted.owners.len(),
        portless: seen.portless,
        doubtful: seen.doubtful,
        out_of_reach: seen.out_of_reach,
        unsure: !seen.unsure.is_empty(),
        ..AttachedOutcome::default()
    };
    for repair in repairs {
        // Links are set aside all the time: nobody has damaged anything.
        let is_damage = !matches!(repair, Repair::RemoveLinks(_));
        let object = repair.object();
        let op = Op::Attached(repair);
        match kernel.apply(&op) {
            Ok(()) => {
                tracing::debug!(%op, "done");
                outcome.done.push(op.to_string());
                outcome.repaired.extend(is_damage.then_some(object));
            }
            Err(error) => outcome.failed.push(Failure::of(&op, &error)),
        }
    }
    outcome.old_fights_only = fights.known(&outcome.repaired, now);
    outcome.fights = fights.repaired(outcome.repaired.clone(), now);
    Ok(outcome)
}

#[cfg(test)]
mod tests;
