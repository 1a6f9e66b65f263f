//! One thread that carries packets: an epoll loop over the device, the sockets and its mailbox. What it takes of memory
//! it takes at its start; the table is exchanged as a whole, and what it has counted is told once for each wake-up.

mod inbound;
mod outbound;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use self::inbound::Inbox;
use self::outbound::Outbox;
use super::counters::Counters;
use super::decide::Trust;
use super::limit::Limits;
use super::socket::Socket;
use super::table::Table;
use super::tun::Tun;
use crate::model::Dual;

/// How often both directions take turns before the mailbox is looked at.
const TURNS: usize = 16;
/// What an event says has happened: mail, or packets.
const MAIL: u64 = 1;
const PACKETS: u64 = 0;

/// What a worker works with.
#[derive(Debug)]
pub struct Setup {
    /// The device.
    pub tun: Tun,
    /// A socket for each family that peers are reached by.
    pub sockets: Dual<Socket>,
    /// What to forward by at first.
    pub table: Arc<Table>,
    /// What packets from the network must prove.
    pub trust: Trust,
}

/// A running worker. It ends when this is dropped.
#[derive(Debug)]
pub struct Worker {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Mailbox {
    bell: EventFd,
    mail: Mutex<Mail>,
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Mail {
    table: Option<Arc<Table>>,
    stop: bool,
}

/// What both directions use.
struct Path {
    tun: Tun,
    sockets: Dual<Socket>,
    table: Arc<Table>,
    trust: Trust,
    limits: Limits,
    started: Instant,
    counters: Counters,
}

impl Worker {
    /// Starts a worker.
    ///
    /// # Errors
    /// When the process has no thread or descriptor left.
    pub fn start(setup: Setup) -> io::Result<Self> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&bell, EpollEvent::new(EpollFlags::EPOLLIN, MAIL))?;
        epoll.add(&setup.tun, EpollEvent::new(EpollFlags::EPOLLIN, PACKETS))?;
        for socket in setup.sockets.values() {
            epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, PACKETS))?;
        }
        let mailbox = Arc::new(Mailbox {
            bell,
            mail: Mutex::default(),
            counters: Mutex::default(),
        });
        let path = Path {
            tun: setup.tun,
            sockets: setup.sockets,
            table: setup.table,
            trust: setup.trust,
            limits: Limits::default(),
            started: Instant::now(),
            counters: Counters::default(),
        };
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

    /// What has been counted up to its last wake-up.
    pub fn counters(&self) -> Counters {
        *lock(&self.mailbox.counters)
    }

    /// Whether it has ended by itself, which it does when the device is gone.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it, and says why it had ended if it had.
    ///
    /// # Errors
    /// What the device or a socket failed with.
    pub fn stop(mut self) -> io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.mailbox.post(|mail| mail.stop = true);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let panicked = |_| Err(io::Error::other("the worker panicked"));
        thread.join().unwrap_or_else(panicked)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.end(); // Nobody asked why.
    }
}

impl Mailbox {
    fn post(&self, write: impl FnOnce(&mut Mail)) {
        write(&mut lock(&self.mail));
        // A full counter has rung already.
        let _ = self.bell.write(1);
    }

    fn take(&self) -> Mail {
        let _ = self.bell.read();
        std::mem::take(&mut lock(&self.mail))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(mut path: Path, epoll: &Epoll, mailbox: &Mailbox) -> io::Result<()> {
    let mut outbox = Outbox::new();
    let mut inbox = Inbox::new(path.tun.has_udp_offload());
    let mut events = [EpollEvent::empty(); 4];
    loop {
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if events[..count].iter().any(|event| event.data() == MAIL) {
            let mail = mailbox.take();
            if mail.stop {
                return Ok(());
            }
            path.table = mail.table.unwrap_or(path.table);
        }
        for _ in 0..TURNS {
            let more = [outbox.turn(&mut path)?, inbox.turn(&mut path)?];
            if more == [false; 2] {
                break;
            }
        }
        *lock(&mailbox.counters) = path.counters;
    }
}
