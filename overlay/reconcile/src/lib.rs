//! Observe, plan, guard, apply: one pass over the kernel.
//!
//! A full pass compares the desired state with a dump of the kernel. A fast pass compares it with the desired state that
//! was applied last, without a dump: what one new lease costs does not depend on how many there are.

mod attached;
mod fights;
mod outcome;
pub mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_forward::forwarding::Forwarding;
use tweed_host::KernelError;
use tweed_kernel::Kernel;
use tweed_plan::{Guard, GuardVerdict, Held, keeping};
use tweed_state::{Desired, KernelState, NextHopObject, Op, Plan, plan};

pub use attached::AttachedOutcome;
use fights::Fights;
pub use outcome::Failure;

/// So many operations of a pass are put into words. A large cluster's first pass makes tens of thousands.
const NAMED: usize = 1_000;

/// What a pass did.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether the kernel was dumped.
    pub full: bool,
    /// The operations that were made, in words: the first thousand.
    pub done: Vec<String>,
    /// Number of operations that were made.
    pub changes: usize,
    /// Operations that failed.
    pub failed: Vec<Failure>,
    /// Operations left out because their link had failed.
    pub skipped: usize,
    /// Deletions held back by the guard, and why.
    pub held: Option<Held>,
    /// What the data plane is to forward by: what is wanted, and the peers that are held back.
    pub forwarding: Option<Arc<Forwarding>>,
    /// The objects of a state that stood, and that something has removed or changed since: put right in this pass.
    pub repaired: BTreeSet<String>,
    /// Objects that another program keeps changing, found in this pass.
    pub fights: Vec<String>,
    /// Every change of this pass is one more round of a fight that was reported before: nothing new to tell.
    pub old_fights_only: bool,
    /// An interface could not be made or put right, or the kernel could not be read: pods can't be reached.
    pub blocked: bool,
    /// How long it took.
    pub took: Duration,
    /// Number of peers in the desired state.
    pub peers: usize,
}

impl Outcome {
    /// Whether the kernel now is as wanted.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.skipped == 0 && self.held.is_none()
    }
}

/// Owns the kernel, and remembers what it applied last.
pub struct Reconciler<K> {
    kernel: K,
    applied: Option<Arc<Desired>>,
    /// What the data plane was last told to forward by.
    carried: Option<Arc<Forwarding>>,
    guard: Guard,
    fights: Fights,
    /// Fights over objects of attachments.
    attached_fights: Fights,
}

impl<K: Kernel> Reconciler<K> {
    /// Nothing is touched before the first pass.
    pub fn new(kernel: K) -> Self {
        Self {
            kernel,
            applied: None,
            carried: None,
            guard: Guard::default(),
            fights: Fights::default(),
            attached_fights: Fights::default(),
        }
    }

    /// The operator has confirmed that a store without peers is right.
    pub fn confirm(&mut self) {
        self.guard.confirm();
    }

    /// What a full pass would do. Changes nothing.
    ///
    /// # Errors
    /// When the kernel can't be observed.
    pub fn preview(&mut self, want: &Desired) -> Result<Plan, KernelError> {
        let mut plan = plan(want, &self.kernel.observe(&want.scope)?);
        let networks = &want.scope.networks;
        plan.puts
            .extend(attached::preview(&mut self.kernel, networks)?);
        Ok(plan)
    }

    /// Sysctls that have other values than these, as far as that is no event, with the values.
    pub fn differ(&mut self, sysctls: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let differs = |(key, value): (&String, &String)| {
            let there = self.kernel.differs(key, value)?;
            Some((key.clone(), there))
        };
        sysctls.iter().filter_map(differs).collect()
    }

    /// Checks attachments of containers on the host, and repairs them. The kernel thread itself reads their records: they
    /// have to be read after the kernel.
    ///
    /// # Errors
    /// When the kernel can't be read; then nothing was changed.
    pub fn attached(
        &mut self,
        networks: &[IpNet],
        now: Instant,
    ) -> Result<AttachedOutcome, KernelError> {
        attached::look(&mut self.kernel, &mut self.attached_fights, networks, now)
    }

    /// Compares with the kernel and repairs it.
    ///
    /// # Errors
    /// When the kernel can't be observed; then nothing was changed.
    pub fn full(&mut self, want: &Arc<Desired>, now: Instant) -> Result<Outcome, KernelError> {
        let observed = self.kernel.observe(&want.scope)?;
        let taken = taken(want, &observed);
        if !taken.is_empty() {
            return Ok(self.stand_back(want, taken, now));
        }
        // Only repairs of what was right before can be a fight.
        let repairing = self
            .applied
            .as_ref()
            .is_some_and(|applied| applied.state == want.state);
        let mut outcome = self.pass(want, &observed, repairing, now);
        outcome.full = true;
        outcome.failed.extend(dropped(&observed));
        Ok(outcome)
    }

    /// A pass that changes nothing: a device of ours belongs to another agent, whose packets our rules would drop.
    fn stand_back(&mut self, want: &Desired, failed: Vec<Failure>, now: Instant) -> Outcome {
        self.applied = None;
        Outcome {
            full: true,
            failed,
            forwarding: self.carried.clone(),
            blocked: true,
            took: now.elapsed(),
            peers: want.peers,
            ..Outcome::default()
        }
    }

    /// Applies the difference to what was applied last. `None` when that isn't known: a full pass is due.
    pub fn fast(&mut self, want: &Arc<Desired>, now: Instant) -> Option<Outcome> {
        let before = self.applied.as_ref()?;
        if before.scope.alias != want.scope.alias {
            return None;
        }
        let before = Arc::clone(before);
        Some(self.pass(want, &before.state, false, now))
    }

    fn pass(
        &mut self,
        want: &Arc<Desired>,
        have: &KernelState,
        repairing: bool,
        now: Instant,
    ) -> Outcome {
        let mut plan = plan(want, have);
        let carried = self.carried.as_ref();
        let held = match self.guard.check(&plan, want, have, carried) {
            GuardVerdict::Pass => None,
            GuardVerdict::Hold(held) => {
                plan = without_deletes(want, have);
                Some(held)
            }
        };
        let mut outcome = Outcome {
            held,
            forwarding: self.carry(want, held.is_some() || !want.prune),
            peers: want.peers,
            ..self.apply(&plan, want, have)
        };
        if repairing {
            let objects: BTreeSet<String> = plan.ops().map(Op::object).collect();
            outcome.old_fights_only = self.fights.known(&objects, now);
            outcome.fights = self.fights.repaired(objects.clone(), now);
            outcome.repaired = objects;
        }
        outcome.took = now.elapsed();
        // Without pruning the kernel may hold more than is wanted: no ground for a fast pass.
        let known = outcome.is_clean() && want.prune;
        if known {
            self.kernel.settled(&want.state);
        }
        self.applied = known.then(|| Arc::clone(want));
        outcome
    }

    /// The table of the data plane while the kernel can't be observed: no peer is cut off for that.
    fn carry_unseen(&mut self, want: &Desired) -> Option<Arc<Forwarding>> {
        self.carry(want, true)
    }

    fn carry(&mut self, want: &Desired, keep: bool) -> Option<Arc<Forwarding>> {
        self.carried = match self.carried.take().filter(|_| keep) {
            Some(carried) => keeping(want, &carried),
            None => want.forwarding.clone(),
        };
        self.carried.clone()
    }

    /// Makes every change it can. What fails marks its link; later changes on that link are skipped. Where a link can't
    /// be made, nothing of the former ones is deleted: they may be what still carries the packets. Nor is the nexthop
    /// object by which a route still leads that could not be replaced.
    fn apply(&mut self, plan: &Plan, want: &Desired, have: &KernelState) -> Outcome {
        let mut outcome = Outcome::default();
        let mut broken: BTreeSet<String> = BTreeSet::new();
        let mut lacking = false;
        let mut needed: BTreeSet<NextHopObject> = BTreeSet::new();
        for (index, op) in plan.ops().enumerate() {
            let spared = lacking && index >= plan.puts.len();
            let stays = |link| spared && !want.state.links.contains_key(link);
            let link_lacks = op
                .link()
                .is_some_and(|link| broken.contains(link) || stays(link));
            if link_lacks || goes_with_route(op, &needed) {
                needed.extend(former_object(op, have));
                outcome.skipped += 1;
                continue;
            }
            match self.kernel.apply(op) {
                Ok(()) => {
                    tracing::debug!(%op, "done");
                    outcome.changes += 1;
                    if outcome.done.len() < NAMED {
                        outcome.done.push(op.to_string());
                    }
                }
                Err(error) => {
                    if breaks_link(op) {
                        let spare = op
                            .link()
                            .is_some_and(|link| want.spare_links.contains(link));
                        outcome.blocked |= !spare;
                        // One of these may be the obstacle.
                        let in_the_way = error.source.kind() == ErrorKind::AlreadyExists;
                        lacking |= matches!(op, Op::AddLink(..)) && !in_the_way;
                        broken.extend(op.link().map(str::to_owned));
                    }
                    needed.extend(former_object(op, have));
                    outcome.failed.push(Failure::of(op, &error));
                }
            }
        }
        outcome
    }
}

/// Devices that are wanted and belong to another agent that runs.
fn taken(want: &Desired, have: &KernelState) -> Vec<Failure> {
    let taken = have.others.taken.iter();
    let wanted = taken.filter(|(name, _)| want.state.links.contains_key(*name));
    wanted
        .map(|(name, holder)| Failure {
            op: format!("take device {name}"),
            error: format!(
                "it belongs to {holder}; give this network another VNI or port in its configuration, or stop the other agent"
            ),
        })
        .collect()
}

/// Tables of other agents that drop what our peers send.
fn dropped(have: &KernelState) -> impl Iterator<Item = Failure> {
    have.others.dropping.iter().map(|(table, agent)| Failure {
        op: "receive packets of peers".to_owned(),
        error: format!(
            "nftables table inet {table} of {agent} drops them; give one of the networks another VNI or port in its configuration, or stop the other agent"
        ),
    })
}

/// The plan of a store that is not in sync: no peer goes, not from the firewall's sets either.
fn without_deletes(want: &Desired, have: &KernelState) -> Plan {
    let want = Desired {
        prune: false,
        ..want.clone()
    };
    plan(&want, have)
}

/// The object by which a route leads that was to be replaced.
fn former_object(op: &Op, have: &KernelState) -> Option<NextHopObject> {
    match op {
        Op::PutRoute(key, _) => have.routes.get(key)?.next_hop.as_object(),
        _ => None,
    }
}

/// Whether it deletes one of these objects, or a copy of it.
fn goes_with_route(op: &Op, needed: &BTreeSet<NextHopObject>) -> bool {
    matches!(op, Op::DelNextHop(object) if needed.contains(&NextHopObject { copy: 0, ..object.clone() }))
}

/// After these, nothing on the link can succeed. A single bad entry must not stop the others.
fn breaks_link(op: &Op) -> bool {
    matches!(op, Op::AddLink(..) | Op::SetLink(..) | Op::DelLink(_))
}

#[cfg(test)]
mod tests;
