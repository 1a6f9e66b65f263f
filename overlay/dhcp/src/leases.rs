//! All leases of this host: those that are asked for, with the callers that wait, and those that are held.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::keeper::{Event, Keeper, Settings};
use crate::key::Key;
use crate::lease::Time;
use crate::log;
use crate::protocol::{Add, Granted, Reply, Request};
use crate::record::Records;

/// How often containers that are gone are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// After a restart, leases are verified one after the other with this pause.
const APART: Duration = Duration::from_millis(20);

/// A caller, by the number of its connection.
pub(crate) type Caller = u64;

pub(crate) struct Leases {
    settings: Settings,
    records: Records,
    all: BTreeMap<Key, Kept>,
    sweep: Time,
    /// Answers that callers wait for.
    replies: Vec<(Caller, Reply)>,
}

struct Kept {
    keeper: Keeper,
    /// Callers that wait for the first lease.
    waiting: Vec<Caller>,
    /// Whether it is on disk, or was.
    saved: bool,
}

impl Leases {
    /// Goes on with the leases of an earlier run.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn load(settings: Settings, records: Records, now: Time) -> std::io::Result<Self> {
        let (read, removed) = records.read()?;
        for line in removed {
            log::line(format_args!("removed {line}"));
        }
        let times = std::iter::successors(Some(now), |time| Some(*time + APART));
        let kept = read.into_iter().zip(times).map(|(record, begin)| {
            let key = record.key.clone();
            log::line(format_args!("{key}: had {}", record.lease.address));
            let kept = Kept {
                keeper: Keeper::resume(&settings, record, begin),
                waiting: Vec::new(),
                saved: true,
            };
            (key, kept)
        });
        let all = kept.collect();
        Ok(Self {
            settings,
            records,
            all,
            sweep: now,
            replies: Vec::new(),
        })
    }

    /// Takes a request. The answer is among [`Leases::replies`], at once or later.
    pub(crate) fn request(&mut self, caller: Caller, request: Request, now: Time) {
        let reply = match request {
            Request::Add(add) => match self.add(caller, &add, now) {
                None => return,
                Some(reply) => reply,
            },
            Request::Del { key } => self.del(&key),
            Request::Check { key } => self.check(&key),
            Request::Gc { network, valid } => self.gc(&network, &valid),
            Request::Status => Reply::Done,
        };
        self.replies.push((caller, reply));
    }

    /// A caller is gone. What nobody waits for any more is not asked for any longer.
    pub(crate) fn abandon(&mut self, caller: Caller) {
        self.all.retain(|key, kept| {
            let waited = !kept.waiting.is_empty();
            kept.waiting.retain(|waiting| *waiting != caller);
            let is_abandoned = waited && kept.waiting.is_empty() && !kept.saved;
            if is_abandoned {
                log::line(format_args!("{key}: the caller is gone"));
            }
            !is_abandoned
        });
    }

    /// The answers that are ready.
    pub(crate) fn replies(&mut self) -> Vec<(Caller, Reply)> {
        std::mem::take(&mut self.replies)
    }

    pub(crate) fn due(&self) -> Time {
        let due = self.all.values().filter_map(|kept| kept.keeper.due());
        due.min().map_or(self.sweep, |due| due.min(self.sweep))
    }

    /// Interfaces that packets are waited for of.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (&Key, BorrowedFd<'_>)> {
        let all = self.all.iter();
        all.filter_map(|(key, kept)| Some((key, kept.keeper.fd()?)))
    }

    /// Does what is due.
    pub(crate) fn turn(&mut self, now: Time) {
        if now >= self.sweep {
            self.sweep = now + SWEEP;
            self.forget_the_gone();
        }
        let is_due = |kept: &Kept| kept.keeper.due().is_some_and(|due| due <= now);
        let due = self.all.iter().filter(|(_, kept)| is_due(kept));
        let due: Vec<Key> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            if let Some(kept) = self.all.get_mut(&key) {
                let event = kept.keeper.turn(&self.settings, now);
                self.follow(&key, event);
            }
        }
    }

    /// Reads the packets of an interface.
    pub(crate) fn receive(&mut self, key: &Key, now: Time) {
        if let Some(kept) = self.all.get_mut(key) {
            let event = kept.keeper.receive(&self.settings, now);
            self.follow(key, event);
        }
    }

    fn add(&mut self, caller: Caller, add: &Add, now: Time) -> Option<Reply> {
        if let Some(kept) = self.all.get_mut(&add.key) {
            let place = kept.keeper.place();
            let is_same = place.netns == add.netns && place.is_there(&self.settings.prefix);
            if is_same && !kept.keeper.is_over() {
                if let Some(lease) = kept.keeper.lease() {
                    return Some(Reply::Lease(Granted::from(lease)));
                }
                kept.waiting.push(caller);
                return None;
            }
            self.forget(&add.key, "the container is another one now");
        }
        match Keeper::new(&self.settings, add, now) {
            Err(error) => Some(Reply::Error(error.to_string())),
            Ok(keeper) => {
                let kept = Kept {
                    keeper,
                    waiting: vec![caller],
                    saved: false,
                };
                self.all.insert(add.key.clone(), kept);
                None
            }
        }
    }

    fn del(&mut self, key: &Key) -> Reply {
        if let Some(mut kept) = self.all.remove(key) {
            kept.keeper.release(&self.settings);
            let error = Reply::Error(format!("{key} has been removed meanwhile"));
            let waiting = kept.waiting.into_iter();
            self.replies
                .extend(waiting.map(|caller| (caller, error.clone())));
        }
        match self.records.remove(key) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Error(format!("remove the lease of {key}: {error}")),
        }
    }

    fn check(&self, key: &Key) -> Reply {
        match self.all.get(key) {
            None => Reply::Error(format!("there is no lease of {key}")),
            Some(kept) => match kept.keeper.lease() {
                Some(lease) => Reply::Lease(Granted::from(lease)),
                None if kept.keeper.is_over() => {
                    Reply::Error(format!("the lease of {key} is over"))
                }
                None => Reply::Error(format!("{key} has no lease at the moment")),
            },
        }
    }

    fn gc(&mut self, network: &str, valid: &[(String, String)]) -> Reply {
        let is_valid = |key: &Key| {
            let mut all = valid.iter();
            all.any(|(container, interface)| {
                *container == key.container && *interface == key.interface
            })
        };
        let keys = self.all.keys().filter(|key| key.network == network);
        let keys: Vec<Key> = keys.filter(|key| !is_valid(key)).cloned().collect();
        let replies: Vec<Reply> = keys.iter().map(|key| self.del(key)).collect();
        let failed = replies.into_iter().find(|reply| *reply != Reply::Done);
        failed.unwrap_or(Reply::Done)
    }

    fn follow(&mut self, key: &Key, event: Event) {
        match event {
            Event::Nothing => {}
            Event::Bound => self.bound(key),
            Event::Failed(why) => self.forget(key, &why),
            Event::Gone(why) => self.forget(key, &why),
            Event::Expired => {
                log::line(format_args!(
                    "{key}: the lease is over, and its interface is set down"
                ));
                self.remove_record(key);
            }
        }
    }

    fn bound(&mut self, key: &Key) {
        let Some(kept) = self.all.get_mut(key) else {
            return;
        };
        let Some(record) = kept.keeper.record() else {
            return;
        };
        let written = self.records.write(&record);
        let lease = &record.lease;
        let why = written.as_ref().err().map(|error| {
            let what = format!("save the lease of {}: {error}", lease.address);
            log::line(format_args!("{key}: {what}"));
            what
        });
        // A lease that the next run would not know of is not given out. A container that has its address keeps it.
        if let Some(why) = why.filter(|_| !kept.saved) {
            kept.keeper.release(&self.settings);
            return self.forget(key, &why);
        }
        kept.saved = true;
        let (address, server, seconds) = (lease.address, lease.server, lease.expire);
        log::line(format_args!(
            "{key}: has {address} of {server} for {seconds} s"
        ));
        let granted = Granted::from(lease);
        let waiting = kept.waiting.drain(..);
        let replies = waiting.map(|caller| (caller, Reply::Lease(granted.clone())));
        self.replies.extend(replies);
    }

    /// Drops a lease that can't be released.
    fn forget(&mut self, key: &Key, why: &str) {
        log::line(format_args!("{key}: {why}"));
        if let Some(kept) = self.all.remove(key) {
            let waiting = kept.waiting.into_iter();
            let replies = waiting.map(|caller| (caller, Reply::Error(why.to_owned())));
            self.replies.extend(replies);
        }
        self.remove_record(key);
    }

    fn remove_record(&self, key: &Key) {
        if let Err(error) = self.records.remove(key) {
            log::line(format_args!("{key}: remove the lease: {error}"));
        }
    }

    /// Nothing is renewed for a container that is gone.
    fn forget_the_gone(&mut self) {
        let prefix = &self.settings.prefix;
        let is_gone = |kept: &Kept| !kept.keeper.place().is_there(prefix);
        let gone = self.all.iter().filter(|(_, kept)| is_gone(kept));
        let gone: Vec<Key> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.forget(&key, "its network namespace is gone");
        }
    }
}
