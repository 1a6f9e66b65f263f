//! Small datagrams, as many as arrive. Senders and sinks use `sendmmsg` and `recvmmsg` in every mode, so that they take
//! as little of the processors as they can; sinks have a large buffer unless it is the default one that is looked at.
//! A sink that waits is woken for each datagram that finds it waiting, which costs the thread that delivers it. Most receivers
//! are like that; one that looks every now and then shows the path alone.

use std::io::IoSlice;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::libc;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg, setsockopt, sockopt};

use crate::cni::Pod;
use crate::traffic;

/// Receive buffer of a sink in bytes, where it shall not be what loses packets.
const BUFFER: usize = 8 << 20;
/// Datagrams in one system call.
const BATCH: usize = 64;
/// Sleep of a sink that polls. The large buffer holds what comes meanwhile.
const NAP: Duration = Duration::from_micros(500);
const LONGEST: usize = 1472;
/// Not counted at the beginning.
const WARM_UP: Duration = Duration::from_millis(100);

/// Datagrams to send.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Connections at once, each with a sender and a sink of its own.
    pub flows: usize,
    /// Sizes of the datagrams.
    pub sizes: &'static [usize],
    /// The sender.
    pub mix: Mix,
    /// How they are received.
    pub sink: Sink,
    /// Datagrams that a sender sends in one system call, at most 64.
    pub batch: usize,
    /// Datagrams a second of each sender, or as many as go.
    pub rate: Option<u32>,
}

/// How sizes are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Each flow has one of them.
    AmongFlows,
    /// Each flow has all of them in turns.
    InEachFlow,
}

/// How datagrams are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Waits for the next one, with a large buffer.
    Waits,
    /// Looks every now and then, with a large buffer.
    Looks,
    /// Waits for the next one, with the kernel's default buffer.
    DefaultBuffer,
}

/// Sizes of 64 bytes to nearly a full packet.
pub const MIXED: &[usize] = &[64, 1400, 128, 64, 700, 256, 64, 1024];

/// Sizes of flows that differ.
pub const DIFFERENT: &[usize] = &[64, 1400, 256, 700];

/// Datagrams that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// Datagrams sent in a second.
    pub sent: f64,
    /// Datagrams received in a second.
    pub received: f64,
}

impl Flood {
    /// Datagrams of 64 bytes.
    pub const fn small(flows: usize) -> Self {
        Self {
            flows,
            sizes: &[64],
            mix: Mix::InEachFlow,
            sink: Sink::Waits,
            batch: BATCH,
            rate: None,
        }
    }

    /// Sends for a while.
    ///
    /// # Errors
    /// When sockets cannot be made.
    pub fn run(&self, from: &Pod<'_>, to: &Pod<'_>, span: Duration) -> Result<Arrived> {
        let running = self.start(from, to)?;
        thread::sleep(WARM_UP);
        let (begin, start) = (running.counts(), Instant::now());
        thread::sleep(span);
        let (end, taken) = (running.counts(), start.elapsed().as_secs_f64());
        running.stop()?;
        let rate = |counts: fn(&(u64, u64)) -> u64| (counts(&end) - counts(&begin)) as f64 / taken;
        Ok(Arrived {
            sent: rate(|counts| counts.0),
            received: rate(|counts| counts.1),
        })
    }

    /// Starts sending.
    ///
    /// # Errors
    /// When sockets cannot be made.
    pub fn start(&self, from: &Pod<'_>, to: &Pod<'_>) -> Result<Running> {
        let mut running = Running::default();
        for number in 0..self.flows {
            let addr = to.v4()?;
            let sink = to.place().run(|| Ok(UdpSocket::bind((addr, 0))?))?;
            if self.sink != Sink::DefaultBuffer {
                setsockopt(&sink, sockopt::RcvBufForce, &BUFFER)?;
            }
            sink.set_read_timeout(Some(Duration::from_millis(20)))?;
            let any = "0.0.0.0:0";
            let source = from.place().run(|| Ok(UdpSocket::bind(any)?))?;
            source.connect(sink.local_addr()?)?;
            let (mut flood, shared) = (*self, Arc::clone(&running.shared));
            if self.mix == Mix::AmongFlows {
                flood.sizes = std::slice::from_ref(&self.sizes[number % self.sizes.len()]);
            }
            let sender = move || {
                send(&source, flood, &shared);
                Ok(())
            };
            running.threads.push(thread::spawn(sender));
            let (kind, shared) = (self.sink, Arc::clone(&running.shared));
            let receiver = move || {
                receive(&sink, kind, &shared);
                Ok(())
            };
            running.threads.push(thread::spawn(receiver));
        }
        Ok(running)
    }
}

/// Senders and sinks at work. They end when this is dropped.
#[derive(Debug, Default)]
pub struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    halt: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Running {
    /// Datagrams sent and received so far.
    pub fn counts(&self) -> (u64, u64) {
        let shared = &self.shared;
        (
            shared.sent.load(Ordering::Relaxed),
            shared.received.load(Ordering::Relaxed),
        )
    }

    /// Ends the senders, waits until what is under way has come or is lost, and gives what was sent and received.
    ///
    /// # Errors
    /// When a thread has panicked.
    pub fn halt(self, wait: Duration) -> Result<(u64, u64)> {
        self.shared.halt.store(true, Ordering::Relaxed);
        thread::sleep(wait);
        let counts = self.counts();
        self.stop()?;
        Ok(counts)
    }

    /// Ends all threads.
    ///
    /// # Errors
    /// When one has panicked.
    pub fn stop(mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).try_for_each(traffic::join)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn send(socket: &UdpSocket, flood: Flood, shared: &Shared) {
    let payload = [0x55; LONGEST];
    let slices: Vec<_> = (flood.sizes.iter().cycle())
        .take(flood.sizes.len().next_multiple_of(flood.batch))
        .map(|&size| [IoSlice::new(&payload[..size])])
        .collect();
    let mut calls = slices.chunks_exact(flood.batch).cycle();
    let connected: [Option<SockaddrIn>; BATCH] = [None; BATCH];
    let start = Instant::now();
    let mut total = 0;
    let mut headers = MultiHeaders::preallocate(flood.batch, None);
    while !shared.stop.load(Ordering::Relaxed)
        && !shared.halt.load(Ordering::Relaxed)
        && let Some(slices) = calls.next()
    {
        let flags = MsgFlags::empty();
        let fd = socket.as_raw_fd();
        // Refusals of the other end and full queues count as losses; the sink counts what arrives.
        if let Ok(sent) = sendmmsg(fd, &mut headers, slices, connected, [], flags) {
            let count = sent.count() as u64;
            total += count;
            shared.sent.fetch_add(count, Ordering::Relaxed);
        }
        if let Some(rate) = flood.rate {
            let due = Duration::from_secs_f64(total as f64 / f64::from(rate));
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
}

fn receive(socket: &UdpSocket, kind: Sink, shared: &Shared) {
    let flags = match kind {
        Sink::Looks => libc::MSG_DONTWAIT,
        Sink::Waits | Sink::DefaultBuffer => libc::MSG_WAITFORONE,
    };
    let mut buffer = [0_u8; LONGEST];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    #[expect(
        unsafe_code,
        reason = "nix's recvmmsg takes buffers that are used once"
    )]
    // SAFETY: headers of zeroes are valid ones.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for header in &mut headers {
        // Nobody reads what comes, so all come to the same place.
        header.msg_hdr.msg_iov = &raw mut part;
        header.msg_hdr.msg_iovlen = 1;
    }
    while !shared.stop.load(Ordering::Relaxed) {
        #[expect(unsafe_code, reason = "the same")]
        // SAFETY: as many headers as said, whose part and buffer live longer than this call.
        let some = unsafe {
            let (first, most) = (headers.as_mut_ptr(), BATCH as libc::c_uint);
            libc::recvmmsg(socket.as_raw_fd(), first, most, flags, std::ptr::null_mut())
        };
        let count = usize::try_from(some).unwrap_or(0);
        shared.received.fetch_add(count as u64, Ordering::Relaxed);
        if kind == Sink::Looks && count < BATCH {
            thread::sleep(NAP);
        }
    }
}
