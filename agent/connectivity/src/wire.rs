//! The conversation over TCP: the key, a question, an answer, each a line.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::key::Key;
use super::protocol::{Answer, Ask};
use super::socket::{Segments, connect};

/// What the first line begins with; the key follows.
const HELLO: &str = "tweed-connectivity 1 ";
/// The longest first line: nobody without the key can have more than this kept for him.
const LONGEST_HELLO: u64 = 128;
/// The longest question or answer: that of some ten thousand targets.
const LONGEST: u64 = 4 << 20;
/// How long a connection may take to come about: a lost first packet is repeated after one and three seconds.
pub const CONNECT: Duration = Duration::from_secs(4);

/// A question's answer, and how it went.
#[derive(Debug)]
pub struct Answered {
    pub answer: Answer,
    /// Our own address.
    pub own: IpAddr,
    /// How long the connection took to come about.
    pub connected: Duration,
}

/// Asks a responder, in segments that pass everywhere.
///
/// # Errors
/// If it can't be reached, or doesn't answer within the limit.
pub async fn ask(to: SocketAddr, key: &Key, ask: &Ask, limit: Duration) -> io::Result<Answered> {
    let start = Instant::now();
    let mut stream = connect(to, Segments::Small, CONNECT.min(limit)).await?;
    let connected = start.elapsed();
    let own = stream.local_addr()?.ip();
    let answer = within(limit, async {
        send_ask(&mut stream, key, ask).await?;
        read(&mut BufReader::new(&mut stream)).await
    })
    .await
    .map_err(|error| match error.kind() {
        // That is how it arrives if the other end closes before it has read everything.
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => closed(error.kind()),
        _ => error,
    })?;
    Ok(Answered {
        answer,
        own,
        connected,
    })
}

/// Sends so many bytes that all packets are full, and waits until they have been counted at the other end.
///
/// # Errors
/// If they do not arrive within the limit.
pub async fn transfer(to: SocketAddr, key: &Key, bytes: u32, limit: Duration) -> io::Result<()> {
    let mut stream = connect(to, Segments::Full, CONNECT.min(limit)).await?;
    let answer = within(limit, async {
        send_ask(&mut stream, key, &Ask::Swallow(bytes)).await?;
        let block = [0; 16 << 10];
        let mut left = bytes as usize;
        while left > 0 {
            let part = left.min(block.len());
            stream.write_all(&block[..part]).await?;
            left -= part;
        }
        read(&mut BufReader::new(&mut stream)).await
    })
    .await?;
    match answer {
        Answer::Swallowed(count) if count == bytes => Ok(()),
        other => Err(unexpected(&other)),
    }
}

/// An answer to another question, as an error.
pub fn unexpected(answer: &Answer) -> io::Error {
    match answer {
        Answer::Refused(reason) => io::Error::other(format!("it says: {reason}")),
        other => io::Error::new(ErrorKind::InvalidData, format!("it answers {other:?}")),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = || io::Error::new(ErrorKind::TimedOut, format!("no answer in {limit:?}"));
    timeout(limit, work).await.map_err(|_| late())?
}

/// The other end has nothing to say to us.
fn closed(kind: ErrorKind) -> io::Error {
    io::Error::new(
        kind,
        "it closed the connection; does it have the same token?",
    )
}

async fn send_ask(stream: &mut TcpStream, key: &Key, ask: &Ask) -> io::Result<()> {
    let hello = format!("{HELLO}{}\n", key.line());
    stream.write_all(hello.as_bytes()).await?;
    write(stream, ask).await
}

/// Reads who asks for what. `None` if it is nobody who may: the port is probed by kubelets, and found by scanners.
pub async fn read_ask(stream: &mut BufReader<TcpStream>, key: &Key) -> io::Result<Option<Ask>> {
    let line = read_line(stream, LONGEST_HELLO).await?;
    let theirs = line.strip_prefix(HELLO.as_bytes());
    if theirs.map(<[u8]>::trim_ascii_end) != Some(key.line().as_bytes()) {
        return Ok(None);
    }
    read(stream).await.map(Some)
}

/// Writes a document and ends the line.
pub async fn write<T: Serialize>(stream: &mut TcpStream, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Waits until the other end is gone. It has nothing more to say.
pub async fn hung_up(stream: &mut BufReader<TcpStream>) {
    while stream.read_u8().await.is_ok() {}
}

/// Reads what follows and drops it.
pub async fn swallow(stream: &mut BufReader<TcpStream>, bytes: u32) -> io::Result<u32> {
    let copied =
        tokio::io::copy(&mut stream.take(u64::from(bytes)), &mut tokio::io::sink()).await?;
    Ok(u32::try_from(copied).unwrap_or(u32::MAX))
}

async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<T> {
    let line = read_line(stream, LONGEST).await?;
    if line.is_empty() {
        return Err(closed(ErrorKind::UnexpectedEof));
    }
    Ok(serde_json::from_slice(&line)?)
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin), longest: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    stream.take(longest).read_until(b'\n', &mut line).await?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_hangs_up_with_a_question_unread_may_have_another_token() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let to = listener.local_addr().unwrap();
        let hangs_up = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Not everything: what is left makes it a reset.
            stream.read_u8().await.unwrap();
        });
        let key = Key::of(b"0123456789abcdef");
        let limit = Duration::from_secs(5);
        let error = ask(to, &key, &Ask::Hello, limit).await.unwrap_err();
        assert!(error.to_string().contains("same token?"), "{error}");
        assert_ne!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
        hangs_up.await.unwrap();
    }
}
