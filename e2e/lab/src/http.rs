//! The smallest HTTP client, mostly for servers on a place's loopback. It speaks 1.0, so that no answer comes in chunks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::namespace::Place;

/// How long a server may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Status and body of a GET.
///
/// # Errors
/// When nobody answers.
pub fn get(place: Place<'_>, port: u16, path: &str) -> Result<(u16, String)> {
    get_from(place, (Ipv4Addr::LOCALHOST, port).into(), path)
}

/// Status and body of a GET from a server anywhere.
///
/// # Errors
/// When nobody answers.
pub fn get_from(place: Place<'_>, server: SocketAddr, path: &str) -> Result<(u16, String)> {
    request(place, server, "GET", path, "")
}

/// Status and body of a POST.
///
/// # Errors
/// When nobody answers.
pub fn post(place: Place<'_>, port: u16, path: &str, body: &str) -> Result<(u16, String)> {
    let server = (Ipv4Addr::LOCALHOST, port).into();
    request(place, server, "POST", path, body)
}

fn request(
    place: Place<'_>,
    server: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, String)> {
    let mut stream = place.run(|| Ok(TcpStream::connect_timeout(&server, LIMIT)?))?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {server}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("no HTTP answer but {answer:?}"))?;
    let status = head.split(' ').nth(1).context("an answer has a status")?;
    Ok((status.parse()?, body.to_owned()))
}
