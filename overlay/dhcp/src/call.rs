//! The plugin's side of the socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::protocol::{GO_REPLY, LONGEST, Reply, Request};

/// How long an answer is waited for that needs no server. A runtime gives up sooner or later; so does the daemon.
const DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No daemon listens.
    #[error("error dialing DHCP daemon: {path}: {reason}")]
    NoDaemon { path: String, reason: String },
    /// It answers something else.
    #[error("the daemon at {0} is not tweed's: stop it, and start `dhcp daemon` of this plugin")]
    Foreign(String),
    /// It has ended meanwhile.
    #[error("the DHCP daemon at {path} gave no answer: {reason}")]
    NoAnswer { path: String, reason: String },
    /// It says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks the daemon at a socket.
///
/// # Errors
/// When there is none, it is another one, or it can't do what is asked.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply, CallError> {
    let path = || socket.display().to_string();
    let stream = UnixStream::connect(socket).map_err(|error| CallError::NoDaemon {
        path: path(),
        reason: error.to_string(),
    })?;
    let line = exchange(stream, request).map_err(|error| CallError::NoAnswer {
        path: path(),
        reason: error.to_string(),
    })?;
    if line.starts_with(GO_REPLY) {
        return Err(CallError::Foreign(path()));
    }
    match serde_json::from_str(&line) {
        Ok(Reply::Error(why)) => Err(CallError::Refused(why)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(CallError::NoAnswer {
            path: path(),
            reason: error.to_string(),
        }),
    }
}

fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<String> {
    // Until a server has answered the daemon decides when it has taken long enough.
    let wait = (!matches!(request, Request::Add(_))).then_some(DEADLINE);
    stream.set_read_timeout(wait)?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut line = serde_json::to_vec(request).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut text = String::new();
    stream.take(LONGEST as u64).read_to_string(&mut text)?;
    match text.is_empty() {
        true => Err(io::ErrorKind::UnexpectedEof.into()),
        false => Ok(text),
    }
}
