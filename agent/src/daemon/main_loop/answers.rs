//! Handles the store's answers, and falls back to saved state where none comes.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tweed_store::{Holding, LeaseStore, cut_by};

use super::{FIRST_LIST, GRACE, Loop, MOMENT};
use crate::daemon::active::Active;
use crate::daemon::asking::{RETRY, Trouble, from_saved, may_stand_in};
use crate::daemon::facts::NO_ANSWER_YET;
use crate::daemon::phase::Phase;
use crate::daemon::session::{Session, join};
use crate::daemon::status::standing::Standing;
use crate::events::sentences;

impl<'s, S: LeaseStore> Loop<'s, S>
where
    S::Held: 's,
{
    pub(super) fn take_answer(&mut self, answer: Result<(Session, S::Held), Trouble>) {
        self.lines.asking = None;
        match answer {
            Ok((session, held)) => self.take_lease(session, held),
            Err(trouble) => {
                self.take_trouble(trouble);
                self.ask(RETRY);
            }
        }
    }

    /// The store has given a lease: what runs on the saved one goes on without a break if that is the same.
    fn take_lease(&mut self, session: Session, held: S::Held) {
        match std::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Waiting => self.begin(session, Some(held)),
            Phase::Offline(mut active) => match active.session.difference(&session) {
                None => {
                    let facts = &mut self.facts.lock();
                    active.confirm(session, &mut self.common, facts);
                    active.take_standing(&Holding::Held, true, facts);
                    self.lines.keep(held);
                    self.phase = Phase::Running(active);
                }
                Some(reason) => {
                    let event = sentences::session_ended(reason);
                    self.facts.lock().events.tell(event);
                    self.begin(session, Some(held));
                }
            },
            running @ Phase::Running(_) => self.phase = running,
        }
    }

    fn take_trouble(&mut self, trouble: Trouble) {
        let away = matches!(trouble, Trouble::Away(_));
        let gone = matches!(trouble, Trouble::Exhausted(_));
        let reason = trouble.reason();
        if let Some(active) = self.phase.active() {
            match gone {
                true => self.lose(&reason),
                false => {
                    let since = Instant::now();
                    let holding = Holding::Unsure { reason, since };
                    active.take_standing(&holding, false, &mut self.facts.lock());
                }
            }
        } else if away && may_stand_in(&self.asker(), &self.said.borrow()) {
            self.away = Some(reason);
            self.deadline = Some(Instant::now());
        } else {
            self.deadline = None;
            self.lines.standing_in = None;
            self.say_waiting(reason);
        }
    }

    /// Goes on from the saved state: the store has not answered in time.
    pub(super) fn stand_in(&mut self) {
        self.deadline = None;
        if let Some(active) = self.phase.active() {
            if !active.is_planned() {
                tracing::warn!("no list of leases yet, going on with the saved peers");
                let peers = self.lines.snapshots.borrow().clone();
                active.take_snapshot(&peers, &mut self.common, &mut self.facts.lock());
            }
            return;
        }
        let session = from_saved(cut_by(self.store), self.asker(), &self.said.borrow());
        self.lines.standing_in = session.map(|session| Box::pin(session) as _);
    }

    /// Begins a session on the saved state, unless the store has answered meanwhile.
    pub(super) fn take_saved(&mut self, session: Result<Session, String>) {
        self.lines.standing_in = None;
        match session {
            Ok(session) => {
                match &self.away {
                    Some(reason) => {
                        let event = sentences::store_away(reason);
                        self.facts.lock().events.tell(event);
                        tracing::warn!("going on from the saved state");
                    }
                    None => tracing::info!(
                        "the store has not answered yet, going on from the saved state"
                    ),
                }
                self.begin(session, None);
            }
            Err(reason) => {
                self.say_waiting(reason);
                self.deadline = Some(Instant::now() + RETRY);
            }
        }
    }

    /// Begins a session, on a lease of the store, or on a saved one.
    fn begin(&mut self, session: Session, held: Option<S::Held>) {
        let confirmed = held.is_some();
        self.lines.standing_in = None;
        self.common.known.before = session.settled;
        let peers = Arc::clone(&self.common.peers);
        let relist = Arc::new(Notify::new());
        self.lines.follow(self.store, &peers, Arc::clone(&relist));
        if let Some(held) = held {
            self.lines.asking = None;
            self.lines.keep(held);
        }
        tracing::info!(
            lease = %session.lease.key, backend = %session.backends, mtu = session.mtu,
            uplink = session.node.uplink.name, public = join(&session.node.public), confirmed,
            "session starts"
        );
        let facts = &mut self.facts.lock();
        if let Some(before) = facts.session.mtu.filter(|mtu| *mtu != session.mtu) {
            facts
                .events
                .tell(sentences::mtu_changed(before, session.mtu));
        }
        let file = &mut self.keepers.subnet_file;
        let mut active = Active::begin(session, &self.common, facts, file, relist);
        // Without the store, the saved peers are all there is. With it, the first list is a moment away; but which peers our
        // own data plane carried before a restart no kernel object tells, and the guard has to know.
        let backends = &active.session.backends;
        let planes = backends.all().any(|backend| backend.data_plane);
        let forgotten = planes && !self.common.data_plane.seen().wanted;
        let known = !peers.leases.is_empty();
        if !confirmed || forgotten && known {
            active.take_snapshot(&peers, &mut self.common, facts);
        }
        let now = Instant::now();
        self.deadline = Some(match self.first && known {
            true => (self.started + GRACE).max(now + MOMENT),
            false => now + FIRST_LIST,
        });
        self.first = false;
        match confirmed {
            true => active.take_standing(&Holding::Held, true, facts),
            false => {
                let why = self.away.take();
                facts.lease.set(Standing::Saved, now);
                facts.lease.store_error = Some(why.unwrap_or_else(|| NO_ANSWER_YET.to_owned()));
            }
        }
        let active = Box::new(active);
        self.phase = match confirmed {
            true => Phase::Running(active),
            false => Phase::Offline(active),
        };
    }
}
