//! Datagrams: the answering side, and the asking one with its search for the largest packet that passes.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tweed_model::Family;

use super::key::Key;
use super::protocol::{self, Arrival, Big};
use super::socket::{known_mtu, unfragmented};

/// Attempts before a datagram counts as lost for good, and how long each waits.
const SLOW: (u32, Duration) = (3, Duration::from_millis(700));
/// The same while the largest packet is searched for, of which many are lost.
const FAST: (u32, Duration) = (2, Duration::from_millis(250));
/// Larger than any datagram.
const BUFFER: usize = 1 << 16;

/// Datagrams that have arrived in the latest run.
#[derive(Debug, Default)]
pub struct Arrivals(Mutex<(u64, BTreeSet<Arrival>)>);

impl Arrivals {
    fn note(&self, run: u64, arrival: Arrival) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.0 != run {
            *latest = (run, BTreeSet::new());
        }
        latest.1.insert(arrival);
    }

    /// The senders of a run; none of another run than the latest.
    pub fn of(&self, run: u64) -> Vec<Arrival> {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match latest.0 == run {
            true => latest.1.iter().copied().collect(),
            false => Vec::new(),
        }
    }
}

/// Answers datagrams that have the key, for ever.
pub async fn answer_all(socket: &UdpSocket, key: &Key, arrivals: &Arrivals) {
    let mut buffer = vec![0; BUFFER];
    loop {
        // An error is one that an earlier answer met: its receiver is gone.
        let Ok((size, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if let Some((run, number)) = protocol::read_question(key.datagram(), &buffer[..size]) {
            let v6 = Family::of(&from.ip()) == Family::V6;
            arrivals.note(run, Arrival { from: number, v6 });
            let _ = socket.send_to(&protocol::answer(run, size), from).await;
        }
    }
}

/// A conversation with one address.
pub struct Line<'a> {
    socket: UdpSocket,
    key: &'a Key,
    run: u64,
    from: u16,
    /// Bytes of IP and UDP headers.
    headers: u32,
}

impl<'a> Line<'a> {
    /// Opens it; nothing is sent.
    pub async fn open(to: SocketAddr, key: &'a Key, run: u64, from: u16) -> io::Result<Self> {
        let headers = match to {
            SocketAddr::V4(_) => 20 + 8,
            SocketAddr::V6(_) => 40 + 8,
        };
        Ok(Self {
            socket: unfragmented(to).await?,
            key,
            run,
            from,
            headers,
        })
    }

    /// Our own address towards the other end.
    pub fn own(&self) -> Option<IpAddr> {
        Some(self.socket.local_addr().ok()?.ip())
    }

    /// The MTU that the kernel knows of.
    pub fn path_mtu(&self) -> Option<u32> {
        known_mtu(&self.socket)
    }

    /// Sends a small datagram.
    ///
    /// # Errors
    /// What the kernel says, or nothing if no answer came.
    pub async fn small(&self) -> Result<(), String> {
        self.asked(0, SLOW).await
    }

    /// Sends a packet of this many bytes, and if that doesn't pass, searches for the largest that does. To be called
    /// where small ones pass.
    pub async fn big(&self, size: u32) -> Big {
        let mut big = Big {
            size,
            passed: size,
            told: None,
        };
        if self.asked(size, SLOW).await.is_err() {
            let told = self.path_mtu().filter(|mtu| *mtu < size);
            big.told = told;
            big.passed = self.search(size, told).await;
        }
        big
    }

    /// The largest packet below `size` that is answered; what a router has told is tried first.
    async fn search(&self, size: u32, told: Option<u32>) -> u32 {
        let smallest = self.headers + u32::try_from(protocol::SMALLEST).unwrap_or(u32::MAX);
        let (mut passes, mut fails) = (smallest, size);
        if let Some(told) = told {
            match self.asked(told, FAST).await {
                Ok(()) => passes = told,
                Err(_) => fails = told,
            }
        }
        while passes + 1 < fails {
            let middle = passes.midpoint(fails);
            match self.asked(middle, FAST).await {
                Ok(()) => passes = middle,
                Err(_) => fails = middle,
            }
        }
        passes
    }

    /// Asks with a packet of this many bytes, or the smallest one, until it is answered.
    async fn asked(&self, packet: u32, (tries, wait): (u32, Duration)) -> Result<(), String> {
        let payload = packet.saturating_sub(self.headers) as usize;
        let question = protocol::question(self.key.datagram(), self.run, self.from, payload);
        let mut reason = String::new();
        for _ in 0..tries {
            match self.once(&question, wait).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // No use in trying again: the interface's MTU, or what a router said.
                Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                    return Err(error.to_string());
                }
                Err(error) => reason = error.to_string(),
            }
        }
        Err(reason)
    }

    async fn once(&self, question: &[u8], wait: Duration) -> io::Result<bool> {
        self.socket.send(question).await?;
        let end = Instant::now() + wait;
        let mut buffer = [0; 2 * protocol::ANSWER_SIZE];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match timeout(left, self.socket.recv(&mut buffer)).await {
                Err(_) => return Ok(false),
                Ok(size) => {
                    // Late answers to earlier questions don't count.
                    if protocol::answers(&buffer[..size?], self.run, question.len()) {
                        return Ok(true);
                    }
                }
            }
        }
    }
}
