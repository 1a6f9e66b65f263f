//! Where datagrams of a flood that is faster than the path are lost: in the queue before the tunnel's device, in the
//! tunnel's socket, in the receiver's, or in the queue between a device and a processor.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::paths::Path;
use tweed_lab::flood::Flood;
use tweed_lab::namespace::Place;
use tweed_lab::report::Table;

/// Counters of losses, and what was sent and received.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// Datagrams sent.
    pub sent: f64,
    /// Lost in the queue of the tunnel's device at the sending host: its reader is too slow.
    pub device: f64,
    /// Lost in the receiving buffer of the tunnel's socket.
    pub socket: f64,
    /// Lost in the receiving buffer of the pod's socket: the sink is too slow, or its buffer too small.
    pub sink: f64,
    /// Lost in the queues by which devices hand packets to processors, anywhere on the machine.
    pub backlog: f64,
    /// Datagrams received.
    pub received: f64,
}

impl Losses {
    /// Sends for a while and looks at the counters of both hosts.
    ///
    /// # Errors
    /// When a counter cannot be read.
    pub fn of(path: &Path<'_>, flood: &Flood, span: Duration) -> Result<Self> {
        let before = Self::counters(path)?;
        let running = flood.start(path.from(), path.to())?;
        thread::sleep(span);
        let (sent, received) = running.halt(Duration::from_millis(300))?;
        let after = Self::counters(path)?;
        Ok(Self {
            sent: sent as f64,
            device: after.device - before.device,
            socket: after.socket - before.socket,
            sink: after.sink - before.sink,
            backlog: after.backlog - before.backlog,
            received: received as f64,
        })
    }

    fn counters(path: &Path<'_>) -> Result<Self> {
        let [from, to] = &path.lab.hosts[..] else {
            anyhow::bail!("two hosts");
        };
        let file = format!(
            "/sys/class/net/{}/statistics/tx_dropped",
            path.mode.device()
        );
        Ok(Self {
            device: from.place().cmd(["cat", &file])?.trim().parse()?,
            socket: full_buffers(to.place())?,
            sink: full_buffers(path.to().place())?,
            backlog: backlog(&fs::read_to_string("/proc/net/softnet_stat")?)?,
            ..Self::default()
        })
    }
}

/// Shares of what was sent.
pub fn table(rows: &[(String, Losses)]) -> Table {
    let head = [
        "",
        "sent",
        "received",
        "lost before the device",
        "in the tunnel's socket",
        "in the pod's socket",
        "between device and processor",
        "elsewhere",
    ];
    let mut table = Table::new(head);
    for (what, losses) in rows {
        let Losses {
            sent,
            device,
            socket,
            sink,
            backlog,
            received,
        } = losses;
        let elsewhere = sent - received - device - socket - sink - backlog;
        let shares = [received, device, socket, sink, backlog, &elsewhere];
        let shares = shares.map(|count| format!("{:.1} %", (100.0 * count / sent).max(0.0)));
        let first = [what.clone(), format!("{:.2} million", sent * 1e-6)];
        table.row(first.into_iter().chain(shares));
    }
    table
}

/// Datagrams that the sockets of a place had no room for.
///
/// # Errors
/// When the counter cannot be read.
pub fn full_buffers(place: Place<'_>) -> Result<f64> {
    of_snmp(&place.cmd(["cat", "/proc/net/snmp"])?, "RcvbufErrors")
}

fn of_snmp(text: &str, name: &str) -> Result<f64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let mut line = || Ok::<_, anyhow::Error>(lines.next().context("no line about UDP")?.split(' '));
    let (names, values) = (line()?, line()?);
    let mut pairs = names.zip(values);
    let found = pairs.find(|(found, _)| *found == name);
    Ok(found.with_context(|| format!("no {name}"))?.1.parse()?)
}

/// The second column, in hexadecimal, of each processor.
fn backlog(text: &str) -> Result<f64> {
    let mut sum = 0;
    for line in text.lines() {
        let column = line.split_whitespace().nth(1).context("no second column")?;
        sum += u32::from_str_radix(column, 16)?;
    }
    Ok(f64::from(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_names() {
        let text = "Ip: A B\nIp: 1 2\nUdp: InDatagrams RcvbufErrors X\nUdp: 7 8 9\nUdpLite: X\n";
        assert_eq!(of_snmp(text, "RcvbufErrors").unwrap(), 8.0);
        assert!(of_snmp(text, "SndbufErrors").is_err());
        let stat = "000000ff 00000010 00000000\n000000ff 00000001 00000000\n";
        assert_eq!(backlog(stat).unwrap(), 17.0);
    }
}
