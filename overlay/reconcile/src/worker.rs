//! The thread that owns the kernel: it sleeps until the desired state changes, the kernel reports a change of ours, a
//! retry is due, or the period is over.

mod times;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tweed_host::memory;
use tweed_host::pauses::Pauses;
use tweed_kernel::Kernel;
use tweed_state::{Desired, Plan};

use self::times::{AttachedTimes, SysctlTimes};
use super::{AttachedOutcome, Failure, Outcome, Reconciler};

/// A full pass follows a fast one after this time; more changes push it back no further than [`LATEST`].
const SETTLE: Duration = Duration::from_millis(250);
/// Kernel events are gathered for this long.
const GATHER: Duration = Duration::from_millis(20);
/// The longest that a due full pass is put off.
const LATEST: Duration = Duration::from_millis(500);
/// A full pass is followed by a rest of this many times its length: while another program keeps changing what is ours,
/// a large cluster costs a quarter of a processor and not all of it.
const REST: u32 = 3;
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Takes the plan of a pass, or the reason why there is none; `None` before there is a desired state.
pub type AnswerPreview = Box<dyn FnOnce(Option<Result<Plan, String>>) + Send>;

/// Reads something of the host, and hands the result to the thread that asked.
pub type Read = Box<dyn FnOnce() + Send>;

fn is_empty(preview: &Result<Plan, String>) -> bool {
    preview.as_ref().is_ok_and(Plan::is_empty)
}

/// What wakes the thread.
pub enum Wake {
    /// The desired state is now this.
    Desired(Arc<Desired>),
    /// Something of ours may have changed in the kernel.
    Dirty,
    /// Something that attachments of containers have on the host may have changed.
    Attached,
    /// The operator has confirmed that a store without peers is right.
    Confirm,
    /// A preview of a pass is wanted.
    Preview(AnswerPreview),
    /// A reading for another thread, made between two passes.
    Read(Read),
    /// Return.
    Stop,
}

/// Reports of the thread.
#[derive(Debug)]
pub enum KernelReport {
    /// A pass has been made.
    Pass(PassReport),
    /// Attachments have been looked at.
    Attached(AttachedOutcome),
}

/// PassReport after a pass.
#[derive(Debug)]
pub struct PassReport {
    /// The state that was aimed at.
    pub desired: Arc<Desired>,
    /// Changes and failures of the pass.
    pub outcome: Outcome,
}

/// The running thread.
pub struct Worker {
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread. `wakes` is a channel made beforehand, so that others can hold its sending end already.
    /// `period` is the time between full passes without any cause; it is jittered by a tenth either way with `jitter`,
    /// a number from 0 to 1.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start<K: Kernel + Send + 'static>(
        kernel: K,
        wakes: (Sender<Wake>, Receiver<Wake>),
        period: Duration,
        jitter: impl FnMut() -> f64 + Send + 'static,
        report: impl FnMut(KernelReport) + Send + 'static,
    ) -> io::Result<Self> {
        let (wake, inbox) = wakes;
        let mut state = State::new(Reconciler::new(kernel), period, jitter, report);
        let thread = thread::Builder::new()
            .name("kernel".to_owned())
            .spawn(move || state.run(&inbox))?;
        Ok(Self {
            wake,
            thread: Some(thread),
        })
    }

    /// A handle to wake the thread with; sending to a thread that has ended is an error that may be ignored.
    pub fn waker(&self) -> Sender<Wake> {
        self.wake.clone()
    }

    /// Ends the thread after the operation at hand; leaves the kernel as it is.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // The thread may have ended already: then there is nothing to stop.
            let _ = self.wake.send(Wake::Stop);
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

struct State<K, J, R> {
    reconciler: Reconciler<K>,
    desired: Option<Arc<Desired>>,
    /// When the next full pass is due, and the moment since which one has been wanted.
    due: Instant,
    wanted_since: Option<Instant>,
    /// No kernel event makes a full pass begin before this.
    rested: Instant,
    retries: Pauses,
    attached: AttachedTimes,
    /// When the memory of a look is given back that was made too soon after others.
    give_back: Option<Instant>,
    sysctls: SysctlTimes,
    period: Duration,
    jitter: J,
    report: R,
}

impl<K: Kernel, J: FnMut() -> f64, R: FnMut(KernelReport)> State<K, J, R> {
    fn new(reconciler: Reconciler<K>, period: Duration, jitter: J, report: R) -> Self {
        let now = Instant::now();
        Self {
            reconciler,
            desired: None,
            due: now + period,
            wanted_since: None,
            rested: now,
            retries: Pauses::new(RETRY_MIN, RETRY_MAX),
            attached: AttachedTimes::new(now),
            give_back: None,
            sysctls: SysctlTimes::default(),
            period,
            jitter,
            report,
        }
    }

    fn run(&mut self, inbox: &Receiver<Wake>) {
        loop {
            let now = Instant::now();
            if self.desired.is_some() && now >= self.due {
                self.full(now);
                continue;
            }
            if now >= self.attached.due {
                self.look_at_attached(now);
                continue;
            }
            if self.sysctls.due.is_some_and(|due| now >= due) {
                self.look_at_sysctls(now);
                continue;
            }
            if self.give_back.is_some_and(|due| now >= due) {
                self.give_back = memory::give_back();
            }
            let full = self.desired.as_ref().map(|_| self.due);
            let others = full.into_iter().chain(self.sysctls.due);
            let others = others.chain(self.give_back);
            let due = others.fold(self.attached.due, Instant::min);
            let sleep = due.saturating_duration_since(now);
            match inbox.recv_timeout(sleep) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(wake) => self.handle(wake),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn handle(&mut self, wake: Wake) {
        let now = Instant::now();
        match wake {
            Wake::Desired(desired) => {
                let before = self.desired.as_ref().map(|before| &before.scope.networks);
                if before != Some(&desired.scope.networks) {
                    self.attached.want(now);
                }
                self.sysctls.want(&desired, now);
                self.desired = Some(Arc::clone(&desired));
                match self.reconciler.fast(&desired, now) {
                    Some(outcome) => self.finish(desired, outcome, now, SETTLE),
                    None => self.due = now,
                }
            }
            Wake::Dirty => self.want_full(now, GATHER),
            Wake::Attached => self.attached.want(now),
            Wake::Confirm => {
                self.reconciler.confirm();
                self.due = now;
            }
            Wake::Preview(answer) => {
                let preview = self.desired.as_ref().map(|desired| {
                    self.reconciler
                        .preview(desired)
                        .map_err(|error| error.to_string())
                });
                // The monitor no longer reports what a look has found: its notification may just have been dismissed.
                if preview.as_ref().is_some_and(|plan| !is_empty(plan)) {
                    self.want_full(now, GATHER);
                    self.attached.want(now);
                }
                answer(preview);
            }
            Wake::Read(read) => read(),
            Wake::Stop => {}
        }
    }

    fn look_at_attached(&mut self, now: Instant) {
        let networks = self.desired.as_ref().map(|desired| &desired.scope.networks);
        let networks = networks.map_or(&[][..], Vec::as_slice);
        let outcome = self.reconciler.attached(networks, now);
        let outcome = outcome.unwrap_or_else(|error| AttachedOutcome {
            failed: vec![Failure {
                op: "look at attachments".to_owned(),
                error: error.to_string(),
            }],
            ..AttachedOutcome::default()
        });
        self.attached.looked(Instant::now(), &outcome);
        (self.report)(KernelReport::Attached(outcome));
    }

    fn look_at_sysctls(&mut self, now: Instant) {
        let wanted = self.desired.as_ref().map(|desired| &desired.state.sysctls);
        let differ = wanted.map(|wanted| self.reconciler.differ(wanted));
        if self.sysctls.looked(now, differ.unwrap_or_default()) {
            self.want_full(now, GATHER);
        }
    }

    fn want_full(&mut self, now: Instant, delay: Duration) {
        let since = *self.wanted_since.get_or_insert(now);
        let ready = (now + delay).max(self.rested);
        self.due = self.due.min(ready.min(since + LATEST));
    }

    fn full(&mut self, now: Instant) {
        let Some(desired) = self.desired.clone() else {
            return;
        };
        self.wanted_since = None;
        self.due = now + self.jittered(self.period);
        let outcome = self
            .reconciler
            .full(&desired, now)
            .unwrap_or_else(|error| Outcome {
                full: true,
                blocked: true,
                failed: vec![Failure {
                    op: "observe".to_owned(),
                    error: error.to_string(),
                }],
                forwarding: self.reconciler.carry_unseen(&desired),
                peers: desired.peers,
                took: now.elapsed(),
                ..Outcome::default()
            });
        // The memory of the look is free again, ten times as much as stays in use.
        self.give_back = memory::give_back();
        self.rested = Instant::now() + (now.elapsed() * REST).min(LATEST);
        self.finish(desired, outcome, now, self.period);
    }

    /// Reports a pass and sets the time of the next full one: `next` if all is well, else by back-off.
    fn finish(&mut self, desired: Arc<Desired>, outcome: Outcome, now: Instant, next: Duration) {
        if outcome.failed.is_empty() {
            self.retries.start_over();
            if !outcome.full {
                self.want_full(now, next);
            }
        } else {
            let delay = self.retries.next_pause();
            self.due = now + self.jittered(delay);
        }
        (self.report)(KernelReport::Pass(PassReport { desired, outcome }));
    }

    fn jittered(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(0.9 + 0.2 * (self.jitter)().clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests;
