//! The daemon's loop: one `select!` over what the store answers, what the kernel thread reports, what the kernel says of the
//! uplink, and one timer for all keepers. What the phases mean is here; what a session makes of its news, in `active`.

mod answers;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::Signal;
use tokio::sync::{Notify, mpsc};
use tweed_reconcile::worker::{KernelReport, PassReport, Wake};
use tweed_store::{LeaseStore, Remote};

use super::active::Active;
use super::asking::{Asker, Said, ask, networks_in};
use super::clock;
use super::common::Common;
use super::facts::SharedFacts;
use super::keepers::Keeper;
use super::keepers::all::Keepers;
use super::lines::{Lines, until, when};
use super::outcome::tell_attached;
use super::phase::Phase;
use super::readiness::not_ready;
use super::readings::Reader;
use super::saved;
use crate::events::sentences;
use crate::files::state_dir::SavedLease;
use crate::files::watch::Watch;
use crate::host::uplink::Choice;

/// The longest time between two looks of the keepers, and what is summed up for the log.
const TICK: Duration = Duration::from_secs(15);
/// Looks that are due within this time of each other are made together.
const SLACK: Duration = Duration::from_millis(50);
/// How long the store may take after the start, or after a change of the uplink, before the saved state stands in.
const GRACE: Duration = Duration::from_millis(150);
/// A list that was asked for near the end of that time may take so long.
const MOMENT: Duration = Duration::from_millis(50);
/// How long a session waits for its first list where the kernel holds the last one's peers, or there are none.
const FIRST_LIST: Duration = Duration::from_secs(2);

/// Inputs from outside of the loop.
pub(super) struct Outside<Stop, Attend> {
    pub(super) reports: mpsc::UnboundedReceiver<KernelReport>,
    pub(super) uplink_changed: Arc<Notify>,
    pub(super) host_changed: Arc<Notify>,
    pub(super) files_changed: Watch,
    pub(super) hang_up: Signal,
    pub(super) stop: Stop,
    /// Tells the cluster about this node. Never ends.
    pub(super) attend: Attend,
}

/// The state of the loop.
pub(super) struct Loop<'s, S: LeaseStore> {
    store: &'s S,
    common: Common,
    facts: SharedFacts,
    keepers: Keepers,
    phase: Phase,
    lines: Lines<'s, S::Held>,
    /// The saved lease, read when the daemon began to wait, and the store's answers since.
    saved: Option<SavedLease>,
    said: Rc<RefCell<Said>>,
    announced: Rc<RefCell<Option<Choice>>>,
    /// When the saved state stands in for missing answers of the store.
    deadline: Option<Instant>,
    /// Error of the last question to the store.
    away: Option<String>,
    /// The uplink has changed since the store was asked.
    uplink_moved: bool,
    /// This process has had no session yet.
    first: bool,
    started: Instant,
    /// When the keepers looked last.
    looked: Instant,
}

impl<'s, S: LeaseStore> Loop<'s, S>
where
    S::Held: 's,
{
    pub(super) fn new(store: &'s S, common: Common, facts: SharedFacts, keepers: Keepers) -> Self {
        Self {
            store,
            common,
            facts,
            keepers,
            phase: Phase::Waiting,
            lines: Lines::default(),
            saved: None,
            said: Rc::default(),
            announced: Rc::default(),
            deadline: None,
            away: None,
            uplink_moved: false,
            first: true,
            started: Instant::now(),
            looked: Instant::now(),
        }
    }

    /// Runs until it is told to stop.
    pub(super) async fn run<Stop, Attend>(&mut self, outside: Outside<Stop, Attend>)
    where
        Stop: Future<Output = ()>,
        Attend: Future<Output = ()>,
    {
        let Outside {
            mut reports,
            uplink_changed,
            host_changed,
            mut files_changed,
            mut hang_up,
            stop,
            attend,
        } = outside;
        tokio::pin!(stop, attend);
        let readers = [self.common.reader.clone(), self.common.files.clone()];
        self.wait(Some(GRACE));
        self.tick();
        loop {
            readers.iter().for_each(Reader::flush);
            self.note_ready();
            let due = self.due();
            let lines = &mut self.lines;
            tokio::select! {
                answer = when(&mut lines.asking) => self.take_answer(answer),
                () = until(self.deadline) => self.stand_in(),
                saved = when(&mut lines.standing_in) => self.take_saved(saved),
                () = when(&mut lines.following) => self.end("the store ended its watch", None),
                reason = when(&mut lines.keeping) => self.lose(&reason),
                Ok(()) = lines.snapshots.changed() => self.take_snapshot(),
                Ok(()) = lines.standings.changed() => self.take_standing(),
                Some(report) = reports.recv() => self.take_kernel_report(report),
                () = uplink_changed.notified() => self.look_at_uplink(),
                () = host_changed.notified() => {
                    self.phase.active().into_iter().for_each(Active::look_at_host);
                }
                () = files_changed.changed() => {
                    self.keepers.files_changed();
                    self.tick();
                }
                // Both tell of theirs here.
                () = readers[0].news() => self.tick(),
                () = until(Some(due)) => self.tick(),
                Some(()) = hang_up.recv() => {
                    // There is nothing to reload: options are the command line's, everything else is watched.
                    tracing::info!("SIGHUP: comparing everything with the kernel");
                    self.common.wake(Wake::Dirty);
                }
                () = &mut attend => {}
                () = &mut stop => return,
            }
        }
    }

    /// Ends: removes what must not outlive the agent, and leaves to the next one what it needs.
    pub(super) fn leave(&self) {
        self.keepers.events.leave();
        if let Some(cni) = &self.keepers.cni {
            cni.stop();
        }
    }

    /// Begins to wait for a session, and asks the store; after this time the saved state stands in.
    fn wait(&mut self, grace: Option<Duration>) {
        if let Phase::Running(active) = std::mem::replace(&mut self.phase, Phase::Waiting) {
            self.common.until_now = Some(active.session.request.attrs);
        }
        self.lines = Lines::default();
        self.saved = saved::lease(&self.common.state);
        let networks = self
            .saved
            .iter()
            .flat_map(|saved| networks_in(&saved.config));
        self.common.former.extend(networks);
        self.common.remember(self.saved.as_ref());
        self.said = Rc::default();
        self.deadline = grace.map(|grace| Instant::now() + grace);
        self.ask(Duration::ZERO);
    }

    fn ask(&mut self, pause: Duration) {
        let said = Rc::clone(&self.said);
        self.lines.asking = Some(Box::pin(ask(self.store, self.asker(), said, pause)));
    }

    fn asker(&self) -> Asker {
        let options = &self.common.options;
        Asker {
            options: options.uplink.clone(),
            lease_ttl: options.lease_ttl,
            subnet_file: options.host.subnet_file.clone(),
            state: self.common.state.clone(),
            saved: self.saved.clone(),
            known: self.common.known.clone(),
            given_up: self.common.given_up,
            until_now: self.common.until_now.clone(),
            redrawn: self.common.redrawn.clone(),
            reader: self.common.reader.clone(),
            facts: self.facts.clone(),
            announced: Rc::clone(&self.announced),
        }
    }

    fn end(&mut self, reason: &str, grace: Option<Duration>) {
        let mut facts = self.facts.lock();
        facts.events.tell(sentences::session_ended(reason));
        facts.waiting = Some(reason.to_owned());
        drop(facts);
        self.wait(grace);
    }

    /// The lease belongs to another node.
    fn lose(&mut self, reason: &str) {
        self.common.given_up = self.phase.active().map(|active| active.session.lease.key);
        self.keepers.subnet_file.give_up();
        self.end(reason, None);
    }

    fn take_snapshot(&mut self) {
        let snapshot = self.lines.snapshots.borrow_and_update().clone();
        let ends = self.phase.active().and_then(|active| {
            let (common, facts) = (&mut self.common, &mut self.facts.lock());
            let ends = active.ends(&snapshot, common);
            if ends.is_some() || active.is_postponed() {
                return ends;
            }
            active.take_snapshot(&snapshot, common, facts);
            active.lost_mac(common)
        });
        if let Some(reason) = ends {
            self.end(&reason, None);
        }
    }

    fn take_standing(&mut self) {
        let holding = self.lines.standings.borrow_and_update().clone();
        if let Some(active) = self.phase.active() {
            active.take_standing(&holding, true, &mut self.facts.lock());
        }
    }

    fn take_kernel_report(&mut self, report: KernelReport) {
        let news = match report {
            KernelReport::Pass(report) => {
                self.take_report(&report);
                false
            }
            KernelReport::Attached(outcome) => {
                let facts = &mut self.facts.lock();
                tell_attached(&facts.events, &outcome, &facts.attached);
                facts.kernel.add_attached(&outcome);
                facts.attached.take(&outcome);
                let bridges = outcome.bridges.unwrap_or_else(|| facts.bridges.clone());
                std::mem::replace(&mut facts.bridges, bridges) != facts.bridges
            }
        };
        if news {
            self.tick();
        }
    }

    fn take_report(&mut self, report: &PassReport) {
        let now = Instant::now();
        let facts = &mut self.facts.lock();
        let file = &mut self.keepers.subnet_file;
        match self.phase.active() {
            Some(active) => active.take_report(report, &mut self.common, facts, file),
            // The kernel thread goes on repairing the last wanted state.
            None => {
                let outcome = &report.outcome;
                let known = &outcome.failed;
                self.common
                    .pass_lines
                    .tell(&facts.events, outcome, known, None);
                facts.kernel.add(outcome);
            }
        }
        self.keepers.data_plane.file(facts);
        if let Some(cni) = &mut self.keepers.cni {
            cni.look(facts, now);
        }
    }

    fn look_at_uplink(&mut self) {
        let Some(active) = self.phase.active() else {
            self.uplink_moved = true;
            // The saved state may fit this host now.
            self.deadline = self.deadline.map(|_| Instant::now());
            return;
        };
        active.look_at_uplink();
    }

    /// When to [`tick`](Self::tick) without an event.
    fn due(&mut self) -> Instant {
        let session = self.phase.active().and_then(Active::due);
        let due = self.keepers.due().into_iter().chain(session).min();
        let due = due.map_or(self.looked + TICK, |due| due.min(self.looked + TICK));
        due.max(self.looked) + SLACK
    }

    fn tick(&mut self) {
        self.looked = Instant::now();
        let file = &mut self.keepers.subnet_file;
        let ends = self.phase.active().and_then(|active| {
            let facts = &mut self.facts.lock();
            if std::mem::take(&mut self.uplink_moved) {
                active.look_at_uplink();
            }
            active.tick(&mut self.common, facts, file)
        });
        if let Some(reason) = ends {
            if let Some(remote) = self.store.remote() {
                remote.redial();
            }
            self.end(&reason, Some(GRACE));
        } else if self.phase.active().is_some_and(Active::may_go_on) {
            self.take_snapshot();
        }
        self.keepers.look(&mut self.facts.lock(), Instant::now());
    }

    /// Files since when the node has been ready, or not, and tells when that turns.
    fn note_ready(&self) {
        let facts = &mut self.facts.lock();
        let reasons = not_ready(facts, Instant::now());
        let ready = reasons.is_empty();
        if facts.ready.take(ready, clock::seconds()) {
            facts.events.tell(match ready {
                true => sentences::ready(),
                false => sentences::not_ready(&reasons),
            });
        }
    }

    /// Logs what the daemon waits for, once as long as it stays the same.
    fn say_waiting(&self, reason: String) {
        let facts = &mut self.facts.lock();
        if facts.waiting.as_ref() != Some(&reason) {
            tracing::warn!(reason, "waiting");
            facts.waiting = Some(reason);
        }
    }
}

#[cfg(test)]
mod tests;
