//! One thread that carries packets: an epoll loop over a queue of the device, the sockets and its mailbox. What it takes
//! of memory it takes at its start; the table is exchanged as a whole, and what it has counted it tells when asked.

mod claims;
mod inbound;
mod mailbox;
mod outbound;
mod path;
mod singly;
mod tries;
mod watch;

use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit};

pub use self::mailbox::Report;
pub use self::tries::SharedTrials;

use tweed_forward::counters::Counters;
use tweed_forward::options::Options;
use tweed_forward::table::Table;
use tweed_forward::trace::{Filter, Traced, Way};
use tweed_model::Dual;

use self::inbound::Inbox;
use self::mailbox::{Mailbox, Tracing};
use self::outbound::Outbox;
use self::path::Path;
use self::watch::Watch;
use super::socket::Socket;
use super::tun::Tun;

/// How often both directions take turns before the mailbox is looked at.
const TURNS: usize = 16;
/// Whoever waited for events so long has slept: nothing had been there.
const SILENCE: Duration = Duration::from_micros(3);
/// What an event is about.
const MAIL: u64 = 1;
const DEVICE: u64 = 2;
const SOCKETS: u64 = 4;
const ERRORS: u64 = 8;

/// What a worker works with.
#[derive(Debug)]
pub struct Setup {
    /// A queue of the device.
    pub tun: Tun,
    /// A socket for each family that peers are reached by.
    pub sockets: Dual<Socket>,
    /// What to forward by at first.
    pub table: Arc<Table>,
    /// What the operator chose.
    pub options: Options,
    /// What all workers of this device know of what reaches the peers.
    pub trials: Arc<SharedTrials>,
}

/// What a worker has carried between: for the next one, in this process or another.
#[derive(Debug)]
pub struct Ends {
    /// Its queue of the device.
    pub tun: Tun,
    /// Its sockets.
    pub sockets: Dual<Socket>,
}

/// What remains of a worker that was stopped.
#[derive(Debug)]
pub struct Stopped {
    /// Its last report.
    pub report: Report,
    /// What it carried between. Nothing of one that panicked.
    pub ends: Option<Ends>,
    /// Why it had ended by itself, if it had.
    pub ended: io::Result<()>,
}

/// A running worker. It ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<(Ends, io::Result<()>)>>,
}

/// A way to a worker's decisions, as long as it runs.
#[derive(Clone, Debug)]
pub struct Tracer(Arc<Mailbox>);

impl Tracer {
    /// Tells of the decisions that a filter takes, as long as `listener` lives.
    pub fn trace(&self, filter: Filter, tell: SyncSender<Traced>, listener: Weak<()>) {
        let tracing = Tracing::new(filter, tell, listener);
        self.0.post(|mail| mail.tracing.push(tracing));
    }
}

impl Worker {
    /// Starts a worker.
    ///
    /// # Errors
    /// When the process has no thread or descriptor left.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let path = Path::new(setup);
        let mailbox = Arc::new(Mailbox::new(path.report())?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(mailbox.bell(), EpollEvent::new(EpollFlags::EPOLLIN, MAIL))?;
        epoll.add(&path.tun, EpollEvent::new(EpollFlags::EPOLLIN, DEVICE))?;
        for socket in path.sockets.values() {
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
            .spawn(move || run(path, &epoll, &theirs))?;
        Ok(Self {
            mailbox,
            thread: Some(thread),
        })
    }

    /// Forwards by another table from now on.
    pub fn forward_by(&self, table: Arc<Table>) {
        self.mailbox.post(|mail| mail.table = Some(table));
    }

    /// What it has counted up to now. Takes as long as the worker needs for what it is at.
    pub fn report(&self) -> Report {
        self.ask()()
    }

    /// Asks for its [`report`](Self::report), which what is returned then waits for: meanwhile others can be asked.
    pub fn ask(&self) -> impl FnOnce() -> Report {
        let asked = (!self.has_ended()).then(|| self.mailbox.ask());
        move || match asked {
            Some(before) => self.mailbox.answer(before),
            None => self.mailbox.last(),
        }
    }

    /// The sums of its [`report`](Self::report).
    pub fn counters(&self) -> Counters {
        self.report().counters
    }

    /// A way to its decisions.
    pub fn tracer(&self) -> Tracer {
        Tracer(Arc::clone(&self.mailbox))
    }

    /// Whether it has ended by itself, which it does when the device is gone.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Tells it to end, and does not wait until it has.
    pub fn end_soon(&self) {
        self.mailbox.post(|mail| mail.stop = true);
    }

    /// Ends it.
    pub fn stop(mut self) -> Stopped {
        let (ends, ended) = match self.end() {
            Some((ends, ended)) => (Some(ends), ended),
            None => (None, Err(io::Error::other("the worker panicked"))),
        };
        Stopped {
            report: self.mailbox.last(),
            ends,
            ended,
        }
    }

    /// Nothing if it has panicked.
    fn end(&mut self) -> Option<(Ends, io::Result<()>)> {
        self.end_soon();
        self.thread.take()?.join().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.end(); // Nobody asked why.
    }
}

fn run(mut path: Path, epoll: &Epoll, mailbox: &Mailbox) -> (Ends, io::Result<()>) {
    be_nice(path.options.nice);
    let ended = carry(&mut path, epoll, mailbox);
    mailbox.tell(path.report());
    let Path { tun, sockets, .. } = path;
    (Ends { tun, sockets }, ended)
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

fn carry(path: &mut Path, epoll: &Epoll, mailbox: &Mailbox) -> io::Result<()> {
    let mut outbox = Outbox::new();
    let mut inbox = Inbox::new(path.joins);
    let mut events = [EpollEvent::empty(); 8];
    let mut watch = Watch::default();
    let (mut carried, mut in_vain) = (false, true);
    loop {
        if carried || path.now < watch.until() {
            // Who waits for this processor may be the one who is about to send, or has been sent something. And whoever
            // sends a lot gets the time to: otherwise it would be interrupted for every packet.
            thread::yield_now();
        }
        let asleep = path.tick();
        if let Some(way) = watch.expects(asleep) {
            let before = (asleep, path.counters.carried());
            let taken = match way {
                Way::Out => outbox.turn(path, true)?,
                Way::In => inbox.turn(path, true)?,
            };
            if taken {
                watch.turn(path, Some(way), before);
                path.do_chores();
                carried = true;
                continue;
            }
        }
        watch.asks();
        let count = match epoll.wait(&mut events, timeout(path, watch.until())) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let first = in_vain || path.tick() - asleep >= SILENCE || watch.waits_for_one();
        in_vain = count == 0;
        let events = &events[..count];
        let ready = events.iter().fold(0, |ready, event| ready | event.data());
        if ready & MAIL != 0 && !obey(path, mailbox) {
            return Ok(());
        }
        if events
            .iter()
            .any(|event| event.events().contains(EpollFlags::EPOLLERR))
        {
            path.hear();
        }
        carried = ready & (DEVICE | SOCKETS) != 0;
        if carried {
            let waiting = [ready & DEVICE != 0, ready & SOCKETS != 0];
            let way = match waiting {
                [true, false] => Some(Way::Out),
                [false, true] => Some(Way::In),
                _ => None,
            };
            let before = (path.now, path.counters.carried());
            take_turns(path, &mut outbox, &mut inbox, waiting, first)?;
            watch.turn(path, way, before);
        }
        path.do_chores();
    }
}

/// Does what the mail says. Whether to go on.
fn obey(path: &mut Path, mailbox: &Mailbox) -> bool {
    let mail = mailbox.take();
    if mail.stop {
        return false;
    }
    let asked = mail.asked;
    path.obey(mail);
    if asked {
        mailbox.tell(path.report());
    }
    true
}

/// Carries what waits at the device and at the sockets. While one has more than a turn's worth, the other is looked at
/// too: it may have got something meanwhile. Who has waited for the underlay looks at the mail. The `first` packet after
/// a silence doesn't wait for others: if there are any, the next events tell.
fn take_turns(
    path: &mut Path,
    outbox: &mut Outbox,
    inbox: &mut Inbox,
    mut waiting: [bool; 2],
    first: bool,
) -> io::Result<()> {
    for _ in 0..TURNS {
        let more = [
            waiting[0] && outbox.turn(path, first)?,
            waiting[1] && inbox.turn(path, first)?,
        ];
        if first || more == [false; 2] || path.has_waited() {
            break;
        }
        waiting = [true; 2];
    }
    Ok(())
}

/// How long to wait for events: not at all while busy polling lasts, else until the next chore, if there is one.
fn timeout(path: &Path, awake_until: Duration) -> EpollTimeout {
    if path.now < awake_until {
        return EpollTimeout::ZERO;
    }
    let sleep = path.sleep();
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
