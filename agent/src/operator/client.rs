//! Asks the running agent over its unix socket: plain HTTP, so that `curl --unix-socket` can ask the same.

use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tweed_host::bounded_file::{self, MIB};

/// A status of 5,000 peers, or a plan while a pass is made, may take its time.
const TIMEOUT: Duration = Duration::from_secs(10);
/// More than the status of any network.
const LONGEST: usize = 256 * MIB;

/// An agent that listens.
pub struct Agent {
    stream: UnixStream,
    limit: Duration,
}

impl Agent {
    /// Connects; `None` if nobody listens.
    ///
    /// # Errors
    /// If somebody might listen, but can't be reached: most often for lack of permission.
    pub fn connect(socket: &Path) -> Result<Option<Self>> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Some(Self {
                stream,
                limit: TIMEOUT,
            })),
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

    /// Waits for so long at most.
    pub fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Sends one request and returns the body of the answer.
    ///
    /// # Errors
    /// If the agent doesn't answer, or with its reason if it says no.
    pub fn ask(mut self, method: &str, path: &str) -> Result<String> {
        let answer = self
            .exchange(method, path)
            .map_err(|error| self.late(error));
        let answer = answer.context("ask the agent")?;
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

    /// Replaces the kernel's message for a timeout, which doesn't name the agent.
    fn late(&self, error: std::io::Error) -> std::io::Error {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let seconds = self.limit.as_secs();
                let text = format!("it has not answered for {seconds} s");
                std::io::Error::new(ErrorKind::TimedOut, text)
            }
            _ => error,
        }
    }

    /// HTTP/1.0: the answer ends with the connection, and is never chunked.
    fn exchange(&mut self, method: &str, path: &str) -> std::io::Result<String> {
        self.stream.set_read_timeout(Some(self.limit))?;
        self.stream.set_write_timeout(Some(self.limit))?;
        write!(
            self.stream,
            "{method} {path} HTTP/1.0\r\nHost: tweedd\r\n\r\n"
        )?;
        bounded_file::text(bounded_file::read_stream(&self.stream, LONGEST)?)
    }
}

/// Whether an agent was asked and gave no answer in time.
pub fn is_late(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == ErrorKind::TimedOut)
}
