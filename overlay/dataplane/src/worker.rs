//! One thread that carries packets: an epoll loop over a queue of the device, the sockets and its mailbox. What it takes
//! of memory it takes at its start; the table is exchanged as a whole; counters are reported on request.

mod asking;
mod busy_polling;
mod chores;
mod claims;
mod inbound;
mod mailbox;
mod outbound;
mod resegment;
mod setup;
mod state;
mod trials;
mod underlay;

use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit};

pub use self::mailbox::WorkerReport;
pub use self::setup::{Setup, WorkerIo};
pub use self::trials::SharedTrials;

use tweed_forward::counters::Counters;
use tweed_forward::table::Table;
use tweed_forward::trace::{Direction, Filter, Traced};

use self::busy_polling::BusyPolling;
use self::inbound::Inbox;
use self::mailbox::{Mailbox, Tracing};
use self::outbound::Outbox;
use self::state::WorkerState;

/// How often both directions take turns before the mailbox is looked at.
const TURNS: usize = 16;
/// A wait for events that took longer has slept: no packet had been there.
const SILENCE: Duration = Duration::from_micros(3);
/// What an event is about.
const MAIL: u64 = 1;
const DEVICE: u64 = 2;
const SOCKETS: u64 = 4;
const ERRORS: u64 = 8;

/// What remains of a worker that was stopped.
#[derive(Debug)]
pub struct Stopped {
    /// Its last report.
    pub report: WorkerReport,
    /// Its device and sockets. None if it panicked.
    pub io: Option<WorkerIo>,
    /// Why it had ended by itself, if it had.
    pub ended: io::Result<()>,
}

/// A running worker. It ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<(WorkerIo, io::Result<()>)>>,
}

/// Access to a worker's decisions about packets.
#[derive(Clone, Debug)]
pub struct Tracer(Arc<Mailbox>);

impl Tracer {
    /// Sends the decisions that match a filter, as long as `listener` lives.
    pub fn trace(&self, filter: Filter, tell: SyncSender<Traced>, listener: Weak<()>) {
        let tracing = Tracing::new(filter, tell, listener);
        self.0.post(|mail| mail.tracing.push(tracing));
    }
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the process has no thread or descriptor left.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let state = WorkerState::new(setup);
        let mailbox = Arc::new(Mailbox::new(state.report())?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(
            mailbox.event_fd(),
            EpollEvent::new(EpollFlags::EPOLLIN, MAIL),
        )?;
        epoll.add(&state.tun, EpollEvent::new(EpollFlags::EPOLLIN, DEVICE))?;
        for socket in state.sockets.values() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, SOCKETS);
            epoll.add(socket.receiver(), event)?;
            if let Some(sender) = socket.sender() {
                // The kernel tells of errors unasked.
                epoll.add(sender, EpollEvent::new(EpollFlags::empty(), ERRORS))?;
            }
        }
        let theirs = Arc::clone(&mailbox);
        let thread = thread::Builder::new()
            .name("forward".to_owned())
            .spawn(move || run(state, &epoll, &theirs))?;
        Ok(Self {
            mailbox,
            thread: Some(thread),
        })
    }

    /// Forwards by another table from now on.
    pub fn forward_by(&self, table: Arc<Table>) {
        self.mailbox.post(|mail| mail.table = Some(table));
    }

    /// The counters up to now. Waits until the worker has finished its turn.
    pub fn report(&self) -> WorkerReport {
        self.ask()()
    }

    /// Asks for a [`report`](Self::report). The result waits for it: meanwhile other workers can be asked.
    pub fn ask(&self) -> impl FnOnce() -> WorkerReport + use<> {
        let asked = (!self.has_ended()).then(|| self.mailbox.ask());
        let mailbox = Arc::clone(&self.mailbox);
        move || match asked {
            Some(before) => mailbox.answer(before),
            None => mailbox.last(),
        }
    }

    /// The sums of its [`report`](Self::report).
    pub fn counters(&self) -> Counters {
        self.report().counters
    }

    /// Access to its decisions about packets.
    pub fn tracer(&self) -> Tracer {
        Tracer(Arc::clone(&self.mailbox))
    }

    /// Whether it has ended by itself, which it does when the device is gone.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks it to end, and does not wait.
    pub fn end_soon(&self) {
        self.mailbox.post(|mail| mail.stop = true);
    }

    /// Ends it, and waits until it has.
    pub fn stop(mut self) -> Stopped {
        let (io, ended) = match self.end() {
            Some((io, ended)) => (Some(io), ended),
            None => (None, Err(io::Error::other("the worker panicked"))),
        };
        Stopped {
            report: self.mailbox.last(),
            io,
            ended,
        }
    }

    /// Nothing if it has panicked.
    fn end(&mut self) -> Option<(WorkerIo, io::Result<()>)> {
        self.end_soon();
        self.thread.take()?.join().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.end(); // The reason is of no use here.
    }
}

fn run(mut state: WorkerState, epoll: &Epoll, mailbox: &Mailbox) -> (WorkerIo, io::Result<()>) {
    be_nice(state.options.nice);
    let ended = carry(&mut state, epoll, mailbox);
    mailbox.file(state.report());
    let WorkerState { tun, sockets, .. } = state;
    (WorkerIo { tun, sockets }, ended)
}

/// Sets this thread's priority; where `CAP_SYS_NICE` is missing, as far as `RLIMIT_NICE` allows it.
fn be_nice(nice: i8) {
    let Err(error) = set_nice(nice) else {
        return;
    };
    let limit = getrlimit(Resource::RLIMIT_NICE).map_or(0, |(limit, _)| limit);
    let allowed = allowed(limit).filter(|allowed| (nice..0).contains(allowed));
    if allowed.is_none_or(|allowed| set_nice(allowed).is_err()) {
        tracing::debug!(%error, nice, "the data plane's threads keep the priority of the process");
    }
}

/// The first priority that a limit allows. It counts the other way round: 1 is a nice of 19, 40 of -20 (setrlimit(2)).
fn allowed(limit: u64) -> Option<i8> {
    i8::try_from(20 - i64::try_from(limit).ok()?).ok()
}

fn set_nice(nice: i8) -> io::Result<()> {
    #[expect(unsafe_code, reason = "nix has no setpriority")]
    // SAFETY: it takes numbers only. To Linux a process is a thread here (setpriority(2), "C library/kernel differences").
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice.into()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn carry(state: &mut WorkerState, epoll: &Epoll, mailbox: &Mailbox) -> io::Result<()> {
    let mut outbox = Outbox::new();
    let mut inbox = Inbox::new(state.joins);
    let mut events = [EpollEvent::empty(); 8];
    let mut polling = BusyPolling::default();
    let (mut carried, mut in_vain) = (false, true);
    loop {
        if carried || state.now < polling.until() {
            // A process that waits for this processor may be about to send, or to receive what was just delivered. A process
            // that sends much is then not interrupted for every packet.
            thread::yield_now();
        }
        let asleep = state.tick();
        if let Some(direction) = polling.expects(asleep) {
            let before = (asleep, state.counters.carried());
            let taken = match direction {
                Direction::Out => outbox.turn(state, true)?,
                Direction::In => inbox.turn(state, true)?,
            };
            if taken {
                polling.turn(state, Some(direction), before);
                state.do_chores();
                carried = true;
                continue;
            }
        }
        polling.asks();
        let count = match epoll.wait(&mut events, timeout(state, polling.until())) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let first = in_vain || state.tick() - asleep >= SILENCE || polling.waits_for_one();
        in_vain = count == 0;
        let events = &events[..count];
        let ready = events.iter().fold(0, |ready, event| ready | event.data());
        if ready & MAIL != 0 && !read_mail(state, mailbox) {
            return Ok(());
        }
        if events
            .iter()
            .any(|event| event.events().contains(EpollFlags::EPOLLERR))
        {
            state.read_errors();
        }
        carried = ready & (DEVICE | SOCKETS) != 0;
        if carried {
            let waiting = [ready & DEVICE != 0, ready & SOCKETS != 0];
            let direction = match waiting {
                [true, false] => Some(Direction::Out),
                [false, true] => Some(Direction::In),
                _ => None,
            };
            let before = (state.now, state.counters.carried());
            take_turns(state, &mut outbox, &mut inbox, waiting, first)?;
            polling.turn(state, direction, before);
        }
        state.do_chores();
    }
}

/// Takes the mail. False ends the worker.
fn read_mail(state: &mut WorkerState, mailbox: &Mailbox) -> bool {
    let mail = mailbox.take();
    if mail.stop {
        return false;
    }
    let asked = mail.asked;
    state.take_mail(mail);
    if asked {
        mailbox.file(state.report());
    }
    true
}

/// Carries what waits at the device and at the sockets. While one has more than a turn's worth, the other is looked at
/// too: it may have got something meanwhile. After a wait for the underlay it is time for the mail. The `first` packet after
/// a silence doesn't wait for others: if there are any, the next events say so.
fn take_turns(
    state: &mut WorkerState,
    outbox: &mut Outbox,
    inbox: &mut Inbox,
    mut waiting: [bool; 2],
    first: bool,
) -> io::Result<()> {
    for _ in 0..TURNS {
        let more = [
            waiting[0] && outbox.turn(state, first)?,
            waiting[1] && inbox.turn(state, first)?,
        ];
        if first || more == [false; 2] || state.has_waited() {
            break;
        }
        waiting = [true; 2];
    }
    Ok(())
}

/// How long to wait for events: not at all while busy polling lasts, else until the next chore, if there is one.
fn timeout(state: &WorkerState, awake_until: Duration) -> EpollTimeout {
    if state.now < awake_until {
        return EpollTimeout::ZERO;
    }
    let sleep = state.sleep();
    let sleep = sleep.map(|sleep| EpollTimeout::try_from(sleep + Duration::from_millis(1)));
    sleep.and_then(Result::ok).unwrap_or(EpollTimeout::NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_says_which_priority_may_be_taken() {
        for (limit, nice) in [(0, 20), (1, 19), (20, 0), (30, -10), (40, -20)] {
            assert_eq!(allowed(limit), Some(nice), "{limit}");
        }
        assert_eq!(allowed(nix::sys::resource::RLIM_INFINITY), None);
    }
}
