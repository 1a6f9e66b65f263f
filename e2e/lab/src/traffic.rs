//! Traffic between places: single pings, a stream of probes that counts what gets lost, and TCP.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tweed_model::Family;

use crate::cni::Pod;
use crate::namespace::Place;
use crate::wait::eventually;

/// Headers of an ICMP echo in an IPv4 packet, in bytes.
const ECHO_V4: u32 = 28;
/// Headers of an ICMP echo in an IPv6 packet, in bytes.
const ECHO_V6: u32 = 48;

/// Sends one ping and gives its round-trip time.
///
/// # Errors
/// When no answer comes within a second.
pub fn ping(from: Place<'_>, to: IpAddr) -> Result<Duration> {
    ping_with(from, to, &[])
}

/// Sends one ping whose packet has exactly this many bytes and must not be fragmented.
///
/// # Errors
/// When no answer comes within a second, or the packet is larger than the path allows.
pub fn ping_size(from: Place<'_>, to: IpAddr, packet: u32) -> Result<Duration> {
    let headers = match Family::of(&to) {
        Family::V4 => ECHO_V4,
        Family::V6 => ECHO_V6,
    };
    let payload = (packet - headers).to_string();
    ping_with(from, to, &["-M", "do", "-s", &payload])
}

fn ping_with(from: Place<'_>, to: IpAddr, options: &[&str]) -> Result<Duration> {
    let to = to.to_string();
    let base = ["ping", "-n", "-c", "1", "-W", "1"];
    let output = from.cmd([&base, options, &[to.as_str()]].concat())?;
    let time = output
        .split_once("time=")
        .and_then(|(_, rest)| rest.split(' ').next())
        .with_context(|| format!("ping printed no time: {output}"))?;
    Ok(Duration::from_secs_f64(time.parse::<f64>()? / 1000.0))
}

/// Pings every pod from every other one until each has answered each.
///
/// # Errors
/// Names the pairs that never did.
pub fn all_reach_each_other(pods: &[Pod<'_>], family: Family) -> Result<()> {
    eventually("every pod reaches every other", || {
        let mut failed = Vec::new();
        for from in pods {
            for to in pods.iter().filter(|to| to.id != from.id) {
                let addr = to.addr(family)?;
                if let Err(error) = ping(from.place(), addr) {
                    failed.push(format!("{} → {addr}: {error:#}", from.place().name()));
                }
            }
        }
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        Ok(())
    })
}

/// Result of a TCP transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// The client's address as the server saw it.
    pub client: IpAddr,
    /// Bytes that went to the server and came back.
    pub bytes: usize,
    /// Time from connecting to the last byte.
    pub taken: Duration,
}

/// Sends bytes over TCP to a server at `addr` in `server`, which sends each back; checks that they come back unchanged.
///
/// # Errors
/// When the connection fails, breaks, or stalls for five seconds.
pub fn tcp(client: Place<'_>, server: Place<'_>, addr: IpAddr, bytes: usize) -> Result<Transfer> {
    tcp_unless_it_stalls(client, server, addr, bytes, Duration::from_secs(5))
}

/// The same with another limit. After a gap TCP waits for as long again before it tries, and longer where it has to share
/// the processor.
///
/// # Errors
/// When the connection fails, breaks, or stalls for so long.
pub fn tcp_unless_it_stalls(
    client: Place<'_>,
    server: Place<'_>,
    addr: IpAddr,
    bytes: usize,
    limit: Duration,
) -> Result<Transfer> {
    let listener = server
        .run(|| Ok(TcpListener::bind((addr, 0))?))
        .with_context(|| format!("listen on {addr} at {}", server.name()))?;
    let target = listener.local_addr()?;
    let echo = thread::spawn(move || -> Result<IpAddr> {
        let (mut stream, peer) = listener.accept()?;
        stream.set_read_timeout(Some(limit))?;
        let mut buffer = [0; 65536];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(peer.ip()),
                count => stream.write_all(&buffer[..count])?,
            }
        }
    });
    let start = Instant::now();
    let stream = client
        .run(|| Ok(TcpStream::connect_timeout(&target, limit)?))
        .with_context(|| format!("connect from {} to {target}", client.name()))?;
    stream.set_read_timeout(Some(limit))?;
    let mut sender = stream.try_clone()?;
    let sending = thread::spawn(move || -> Result<()> {
        sender.write_all(&pattern(bytes))?;
        Ok(sender.shutdown(Shutdown::Write)?)
    });
    let mut back = Vec::with_capacity(bytes);
    (&stream).read_to_end(&mut back).context("read back")?;
    let taken = start.elapsed();
    join(sending)?;
    let seen = join(echo)?;
    ensure!(back == pattern(bytes), "the bytes came back changed");
    Ok(Transfer {
        client: seen,
        bytes,
        taken,
    })
}

/// Sends one datagram and gives the address that the receiver saw it come from.
///
/// # Errors
/// When it does not arrive within two seconds.
pub fn udp_source(client: Place<'_>, server: Place<'_>, addr: IpAddr) -> Result<IpAddr> {
    let receiver = server.run(|| Ok(UdpSocket::bind((addr, 0))?))?;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let sender = client.run(|| Ok(UdpSocket::bind(any(addr))?))?;
    sender.send_to(b"who am I?", receiver.local_addr()?)?;
    let (_, from) = receiver.recv_from(&mut [0; 64])?;
    Ok(from.ip())
}

/// Probes that run between two places until they are stopped.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<Result<Loss>>>,
}

/// Losses of a [`Stream`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    /// Probes sent.
    pub sent: u32,
    /// Probes that never came back.
    pub lost: u32,
    /// The longest time between two probes that came back.
    pub gap: Duration,
}

impl Stream {
    /// Starts sending a small datagram every two milliseconds from one pod to another, which sends it back. Returns
    /// once the first has come back.
    ///
    /// # Errors
    /// When none does.
    pub fn start(from: &Pod<'_>, to: &Pod<'_>, family: Family) -> Result<Self> {
        let addr = to.addr(family)?;
        let stop = Arc::new(AtomicBool::new(false));
        let server = to.place().run(|| Ok(UdpSocket::bind((addr, 0))?))?;
        let client = from.place().run(|| Ok(UdpSocket::bind(any(addr))?))?;
        client.connect(server.local_addr()?)?;
        reflect(server, Arc::clone(&stop))?;
        eventually("the first probe comes back", || {
            client.set_read_timeout(Some(Duration::from_millis(100)))?;
            client.send(&u32::MAX.to_be_bytes())?;
            client.recv(&mut [0; 4])?;
            Ok(())
        })?;
        let ended = Arc::clone(&stop);
        let sender = thread::spawn(move || probe(&client, &ended));
        Ok(Self {
            stop,
            sender: Some(sender),
        })
    }

    /// Stops sending, waits for late probes, and counts what got lost.
    ///
    /// # Errors
    /// When the probes could not be sent at all.
    pub fn stop(mut self) -> Result<Loss> {
        self.stop.store(true, Ordering::Relaxed);
        join(self.sender.take().context("a stream is stopped once")?)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn reflect(server: UdpSocket, stop: Arc<AtomicBool>) -> Result<()> {
    server.set_read_timeout(Some(Duration::from_millis(50)))?;
    thread::spawn(move || {
        let mut buffer = [0; 64];
        let mut ended = None;
        // Goes on a little after the end, for the last probes.
        while ended.is_none_or(|at: Instant| at.elapsed() < Duration::from_secs(1)) {
            if let Ok((count, from)) = server.recv_from(&mut buffer) {
                let _ = server.send_to(&buffer[..count], from);
            }
            if ended.is_none() && stop.load(Ordering::Relaxed) {
                ended = Some(Instant::now());
            }
        }
    });
    Ok(())
}

fn probe(client: &UdpSocket, stop: &AtomicBool) -> Result<Loss> {
    let mut seen = Vec::new();
    let mut loss = Loss::default();
    let mut last = Instant::now();
    let mut receive = |seen: &mut Vec<bool>, wait: Duration, gap: &mut Duration| -> Result<()> {
        client.set_read_timeout(Some(wait))?;
        let mut buffer = [0; 4];
        // Errors are lost probes: an unreachable network is reported to the socket.
        while let Ok(4) = client.recv(&mut buffer) {
            let number = u32::from_be_bytes(buffer) as usize;
            if let Some(slot) = seen.get_mut(number) {
                *slot = true;
            }
            *gap = (*gap).max(last.elapsed());
            last = Instant::now();
            client.set_read_timeout(Some(Duration::from_micros(100)))?;
        }
        Ok(())
    };
    while !stop.load(Ordering::Relaxed) {
        seen.push(false);
        let _ = client.send(&loss.sent.to_be_bytes());
        loss.sent += 1;
        receive(&mut seen, Duration::from_millis(2), &mut loss.gap)?;
    }
    let end = Instant::now();
    while seen.contains(&false) && end.elapsed() < Duration::from_millis(700) {
        receive(&mut seen, Duration::from_millis(50), &mut loss.gap)?;
    }
    loss.lost = u32::try_from(seen.iter().filter(|&&back| !back).count())?;
    Ok(loss)
}

fn any(like: IpAddr) -> SocketAddr {
    match Family::of(&like) {
        Family::V4 => ([0, 0, 0, 0], 0).into(),
        Family::V6 => ([0_u16; 8], 0).into(),
    }
}

/// Bytes in which a lost, doubled or moved block shows.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 16) as u8)
        .collect()
}

/// Waits for a thread.
///
/// # Errors
/// The thread's, or that it panicked.
pub fn join<T>(handle: JoinHandle<Result<T>>) -> Result<T> {
    match handle.join() {
        Ok(result) => result,
        Err(_) => bail!(anyhow!("a traffic thread panicked")),
    }
}
