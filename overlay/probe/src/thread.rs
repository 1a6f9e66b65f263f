//! The thread that asks and listens.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tweed_host::random;
use tweed_model::Family;

use crate::echo;
use crate::prober::{Prober, Turned};
use crate::socket::EchoSocket;
use crate::target::{Id, Target};

/// Peers that come, go and turn all the time are taken over and told of so often.
const SETTLES: Duration = Duration::from_secs(1);
/// What is due within this time of each other is done together.
const SLACK: Duration = Duration::from_millis(100);

/// Room for the headers of an answer with IPv4's options, and its number. The rest is cut off.
const BUFFER: usize = 128;

/// Calls what it gets with each peer, in the order of their ids.
type All = Box<dyn FnOnce(&mut dyn FnMut(Id, Target)) + Send>;

/// The thread's other end. Clones share it.
#[derive(Clone)]
pub struct Probes(Arc<Shared>);

impl fmt::Debug for Probes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probes")
    }
}

struct Shared {
    origin: Instant,
    prober: Mutex<Prober>,
    wanted: Mutex<Option<All>>,
    wake: EventFd,
}

impl Probes {
    /// Starts the thread, which ends with the process. `tell` is called when peers have turned, come or gone.
    ///
    /// # Errors
    /// The kernel's, when it gives no socket for echoes.
    pub fn start(
        tell: impl FnMut(&Prober, Duration, &[Turned]) + Send + 'static,
    ) -> io::Result<Self> {
        let v4 = EchoSocket::open(Family::V4)?;
        // A kernel may have no IPv6.
        let v6 = EchoSocket::open(Family::V6).ok();
        let sockets: Vec<_> = [Some(v4), v6].into_iter().flatten().collect();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let probes = Self(Arc::new(Shared {
            origin: Instant::now(),
            prober: Mutex::default(),
            wanted: Mutex::default(),
            wake: EventFd::from_flags(flags)?,
        }));
        let shared = Arc::clone(&probes.0);
        thread::Builder::new()
            .name("probes".to_owned())
            .spawn(move || shared.run(&sockets, tell))?;
        Ok(probes)
    }

    /// Has the thread ask these peers from now on: `all` calls what it gets with each, in the order of their ids.
    pub fn want(&self, all: impl FnOnce(&mut dyn FnMut(Id, Target)) + Send + 'static) {
        *lock(&self.0.wanted) = Some(Box::new(all));
        // A counter that is full is not empty.
        let _ = self.0.wake.write(1);
    }

    /// Looks at the peers, and at the time by which theirs go.
    pub fn look<T>(&self, at: impl FnOnce(&Prober, Duration) -> T) -> T {
        at(&lock(&self.0.prober), self.0.origin.elapsed())
    }
}

impl Shared {
    fn run(&self, sockets: &[EchoSocket], mut tell: impl FnMut(&Prober, Duration, &[Turned])) {
        let mut buffer = [0; BUFFER];
        let (mut taken, mut told): (Option<Duration>, Option<Duration>) = (None, None);
        let (mut turned, mut others) = (Vec::new(), false);
        loop {
            let now = self.origin.elapsed();
            let settled = taken.map_or(now, |taken| taken + SETTLES);
            let mut due = None;
            if settled > now {
                due = lock(&self.wanted).is_some().then_some(settled);
            } else if let Some(all) = lock(&self.wanted).take() {
                let there = |family| sockets.iter().any(|socket| socket.family == family);
                let all = |each: &mut dyn FnMut(Id, Target)| {
                    all(&mut |id, target| {
                        if there(id.1) {
                            each(id, target);
                        }
                    });
                };
                lock(&self.prober).set(all, now, random::fraction);
                taken = Some(now);
                others = true;
            }
            turned.extend(self.ask(sockets, &mut due));
            let settled = told.map_or(now, |told| told + SETTLES);
            if others || !turned.is_empty() {
                if settled > now {
                    due = due.into_iter().chain([settled]).min();
                } else {
                    tell(&lock(&self.prober), now, &turned);
                    (turned, others, told) = (Vec::new(), false, Some(now));
                }
            }
            self.listen(sockets, due, &mut buffer);
        }
    }

    /// Asks the peers that are due. Returns the peers that have turned.
    fn ask(&self, sockets: &[EchoSocket], due: &mut Option<Duration>) -> Vec<Turned> {
        let mut prober = lock(&self.prober);
        let requests = prober.step(self.origin.elapsed(), random::bits);
        let turned = prober.turned();
        *due = prober.due().into_iter().chain(*due).min();
        drop(prober);
        for request in requests {
            let family = Family::of(&request.to);
            let packet = echo::request(family, request.number, request.length);
            let socket = sockets.iter().find(|socket| socket.family == family);
            // What can't be sent is not answered, and that says as much.
            let _ = socket.map(|socket| socket.send(request.to, &packet));
        }
        turned
    }

    /// Waits for answers, other peers, or the next turn.
    fn listen(&self, sockets: &[EchoSocket], due: Option<Duration>, buffer: &mut [u8]) {
        let timeout = due.map_or(PollTimeout::NONE, |due| {
            let wait = due.saturating_sub(self.origin.elapsed());
            let wait = if wait.is_zero() { wait } else { wait + SLACK };
            wait.try_into().unwrap_or(PollTimeout::MAX)
        });
        let mut ready: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        ready.push(self.wake.as_fd());
        let mut ready: Vec<_> = ready
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        if let Err(error) = poll(&mut ready, timeout)
            && error != Errno::EINTR
        {
            thread::sleep(SETTLES);
        }
        let _ = self.wake.read();
        for socket in sockets {
            while let Some((icmp, from)) = socket.receive(buffer) {
                if let Some(number) = echo::number(socket.family, icmp) {
                    self.take(number, from);
                }
            }
        }
    }

    fn take(&self, number: u64, from: IpAddr) {
        lock(&self.prober).take(number, from, self.origin.elapsed());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
