//! Asks the running agent over its unix socket: plain HTTP, so that `curl --unix-socket` can ask the same.

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tweed_host::bounded_file::{self, MIB};

const TIMEOUT: Duration = Duration::from_secs(10);
/// More than the status of any network.
const LONGEST: usize = 256 * MIB;

/// An agent that listens.
pub struct Agent {
    stream: UnixStream,
}

impl Agent {
    /// Connects; `None` if nobody listens.
    ///
    /// # Errors
    /// If somebody might listen, but can't be reached: most often for lack of permission.
    pub fn connect(socket: &Path) -> Result<Option<Self>> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| {
                format!(
                    "ask the agent on {}: run as root, or as the agent's user",
                    socket.display()
                )
            }),
        }
    }

    /// Sends one request and returns the body of the answer.
    ///
    /// # Errors
    /// If the agent doesn't answer, or with its reason if it says no.
    pub fn ask(mut self, method: &str, path: &str) -> Result<String> {
        let answer = self.exchange(method, path).context("ask the agent")?;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .context("the agent's answer has no end")?;
        let code = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse::<u16>().ok());
        match code.context("the agent's answer has no status")? {
            200..300 => Ok(body.to_owned()),
            404 => bail!("the agent that runs here is of another version: restart it"),
            _ if body.trim().is_empty() => bail!("the agent can't answer now: it is stopping"),
            _ => bail!("{}", body.trim()),
        }
    }

    /// HTTP/1.0: the answer ends with the connection, and is never chunked.
    fn exchange(&mut self, method: &str, path: &str) -> std::io::Result<String> {
        self.stream.set_read_timeout(Some(TIMEOUT))?;
        self.stream.set_write_timeout(Some(TIMEOUT))?;
        write!(
            self.stream,
            "{method} {path} HTTP/1.0\r\nHost: tweedd\r\n\r\n"
        )?;
        bounded_file::text(bounded_file::read_stream(&self.stream, LONGEST)?)
    }
}
