//! 64 bytes there and back, over UDP and over TCP: one at a time on an idle machine, and many at once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::apart;
use super::machine::Watch;
use super::paths::Path;
use tweed_lab::traffic;

/// Bytes of a question and of its answer.
const SIZE: usize = 64;
/// After this an answer is taken to be lost.
const LOST: Duration = Duration::from_secs(1);

/// Microseconds there and back.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Half of the answers come sooner.
    pub median: f64,
    /// One in a hundred takes longer.
    pub p99: f64,
    /// How often it was asked.
    pub count: usize,
    /// Microseconds that the machine's processors were busy for each question.
    pub cost: f64,
}

/// Datagrams. `apart` keeps the answering end on the second host's processor.
///
/// # Errors
/// When one is lost.
pub fn udp(path: &Path<'_>, span: Duration, apart: bool) -> Result<Latency> {
    let addr = path.to().v4()?;
    let server = path.to().place().run(|| Ok(UdpSocket::bind((addr, 0))?))?;
    let any = "0.0.0.0:0";
    let client = path.from().place().run(|| Ok(UdpSocket::bind(any)?))?;
    client.connect(server.local_addr()?)?;
    client.set_read_timeout(Some(LOST))?;
    server.set_read_timeout(Some(LOST))?;
    let echo = thread::spawn(move || -> Result<()> {
        if apart {
            apart::stay(1)?;
        }
        let mut buffer = [0; SIZE];
        loop {
            let (count, peer) = server.recv_from(&mut buffer)?;
            if count < SIZE {
                return Ok(());
            }
            server.send_to(&buffer, peer)?;
        }
    });
    let times = ask(span, || {
        client.send(&[0x55; SIZE])?;
        client.recv(&mut [0; SIZE])?;
        Ok(())
    })?;
    client.send(&[0])?;
    traffic::join(echo)?;
    Ok(times)
}

/// Questions that are answered in a second when so many ask, each one question after the other, over UDP.
///
/// # Errors
/// When one is lost.
pub fn at_once(path: &Path<'_>, conversations: usize, span: Duration) -> Result<f64> {
    let one = || udp(path, span, false);
    let counts = thread::scope(|scope| {
        let all: Vec<_> = (0..conversations).map(|_| scope.spawn(one)).collect();
        let all = all.into_iter();
        let joined = all.map(|one| one.join().unwrap_or_else(|_| bail!("a thread panicked")));
        joined.map(|one| Ok(one?.count)).collect::<Result<Vec<_>>>()
    })?;
    Ok(counts.iter().sum::<usize>() as f64 / span.as_secs_f64())
}

/// A connection that doesn't wait for more to send. `apart` keeps the answering end on the second host's processor.
///
/// # Errors
/// When it breaks.
pub fn tcp(path: &Path<'_>, span: Duration, apart: bool) -> Result<Latency> {
    let addr = path.to().v4()?;
    let listener = path
        .to()
        .place()
        .run(|| Ok(TcpListener::bind((addr, 0))?))?;
    let target = listener.local_addr()?;
    let echo = thread::spawn(move || -> Result<()> {
        if apart {
            apart::stay(1)?;
        }
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = [0; SIZE];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let mut client = path
        .from()
        .place()
        .run(|| Ok(TcpStream::connect(target)?))?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(LOST))?;
    let times = ask(span, || {
        client.write_all(&[0x55; SIZE])?;
        client.read_exact(&mut [0; SIZE])?;
        Ok(())
    })?;
    drop(client);
    traffic::join(echo)?;
    Ok(times)
}

fn ask(span: Duration, mut question: impl FnMut() -> Result<()>) -> Result<Latency> {
    let mut times = Vec::new();
    let watch = Watch::start()?;
    let start = Instant::now();
    while start.elapsed() < span {
        let asked = Instant::now();
        question()?;
        times.push(asked.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(Latency {
        median: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        count: times.len(),
        cost: watch.used()? * 1e6 / times.len() as f64,
    })
}
