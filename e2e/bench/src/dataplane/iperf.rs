//! iperf3 between pods.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use tweed_lab::cni::Pod;
use tweed_lab::wait::eventually;

/// How often a server is tried that is still busy: where packets are lost, it learns late that the last client is gone.
const BUSY: usize = 20;

/// A server in a pod, which serves one client after the other. Ends when dropped.
#[derive(Debug)]
pub struct Server(Child);

/// Load of a client.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// TCP connections at once.
    pub streams: u32,
    /// How the sender finds its speed.
    pub congestion: &'static str,
    /// Bits a second of each connection, or as many as go.
    pub rate: Option<u64>,
    /// How long, in seconds.
    pub seconds: u32,
}

/// Result of a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transfer {
    /// Bits a second, as the receiver counted.
    pub rate: f64,
    /// Bits in all.
    pub bits: f64,
    /// Segments that were sent again.
    pub again: u64,
    /// The first connection's mean round trip in microseconds, as its sender saw it.
    pub round_trip: f64,
}

impl Server {
    /// Starts one.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start(pod: &Pod<'_>) -> Result<Self> {
        let mut command = Command::new("iperf3");
        command.arg("-s").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self(pod.place().spawn(&mut command)?);
        eventually("iperf3 listens", || {
            let found = pod.place().sh("ss -Hltn sport = :5201")?;
            anyhow::ensure!(!found.is_empty(), "it does not");
            Ok(())
        })?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Load {
    /// As many bytes as go, for a while.
    pub fn bulk(streams: u32, congestion: &'static str, seconds: u32) -> Self {
        Self {
            streams,
            congestion,
            rate: None,
            seconds,
        }
    }

    /// Words of the client's command line.
    pub fn words(&self, to: &Pod<'_>) -> Result<Vec<String>> {
        let mut words = vec!["iperf3".to_owned(), "-J".to_owned()];
        words.extend(["-c".to_owned(), to.v4()?.to_string()]);
        words.extend(["-C".to_owned(), self.congestion.to_owned()]);
        words.extend(["-P".to_owned(), self.streams.to_string()]);
        words.extend(["-t".to_owned(), self.seconds.to_string()]);
        if let Some(rate) = self.rate {
            words.extend(["-b".to_owned(), rate.to_string()]);
        }
        Ok(words)
    }

    /// Runs a client in `from` against the server in `to`.
    ///
    /// # Errors
    /// When iperf3 fails.
    pub fn run(&self, from: &Pod<'_>, to: &Pod<'_>) -> Result<Transfer> {
        let words = self.words(to)?;
        let once = || {
            let mut command = Command::new(&words[0]);
            let output = from.place().output(command.args(&words[1..]), "")?;
            parse(&String::from_utf8_lossy(&output.stdout))
        };
        for _ in 0..BUSY {
            match once() {
                Err(error) if error.to_string().contains("server is busy") => {
                    thread::sleep(Duration::from_millis(500));
                }
                ended => return ended,
            }
        }
        once()
    }
}

/// Whether the kernel has this congestion control.
pub fn has(congestion: &str) -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .is_ok_and(|list| list.split_whitespace().any(|name| name == congestion))
}

/// Reads what a client prints with `-J`.
///
/// # Errors
/// What iperf3 says is wrong.
pub fn parse(text: &str) -> Result<Transfer> {
    let report: Value = serde_json::from_str(text).context("iperf3 prints no JSON")?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let end = &report["end"];
    let number = |value: &Value, name: &str| {
        value[name]
            .as_f64()
            .with_context(|| format!("iperf3 reports no {name}"))
    };
    Ok(Transfer {
        rate: number(&end["sum_received"], "bits_per_second")?,
        bits: number(&end["sum_received"], "bytes")? * 8.0,
        again: end["sum_sent"]["retransmits"].as_u64().unwrap_or(0),
        round_trip: number(&end["streams"][0]["sender"], "mean_rtt")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receivers_figure_is_read() {
        let text = r#"{ "start": {}, "intervals": [], "end": {
            "streams": [{ "sender": { "mean_rtt": 71 } }],
            "sum_sent": { "bytes": 1250, "bits_per_second": 5000, "retransmits": 3 },
            "sum_received": { "bytes": 1000, "bits_per_second": 4000.5 } } }"#;
        let transfer = Transfer {
            rate: 4000.5,
            bits: 8000.0,
            again: 3,
            round_trip: 71.0,
        };
        assert_eq!(parse(text).unwrap(), transfer);
    }

    #[test]
    fn an_error_of_iperf3_is_reported() {
        let text = r#"{ "start": {}, "end": {}, "error": "unable to connect" }"#;
        assert!(
            parse(text)
                .unwrap_err()
                .to_string()
                .contains("unable to connect")
        );
        assert!(parse("").is_err());
        assert!(parse(r#"{ "end": {} }"#).is_err());
    }
}
